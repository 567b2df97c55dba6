//! `GET /`: the live page and what it is made of, embedded. It loads nothing from elsewhere, and the browser is told so.

use warp::Reply as _;
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::Response;

use super::routes::not_found;

/// Its own scripts, styles and pictures, requests to this daemon, and nothing else: nothing inline, nothing framed.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// One file of the page.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

macro_rules! assets {
    ($($name:literal $content_type:literal)*) => {
        &[$(Asset { name: $name, content_type: $content_type, text: include_str!(concat!("page/", $name)) },)*]
    };
}

const ASSETS: &[Asset] = assets! {
    "index.html" "text/html; charset=utf-8"
    "page.css" "text/css; charset=utf-8"
    "icon.svg" "image/svg+xml"
    "main.js" "text/javascript; charset=utf-8"
    "activity.js" "text/javascript; charset=utf-8"
    "chart.js" "text/javascript; charset=utf-8"
    "command.js" "text/javascript; charset=utf-8"
    "dom.js" "text/javascript; charset=utf-8"
    "form.js" "text/javascript; charset=utf-8"
    "format.js" "text/javascript; charset=utf-8"
    "layers.js" "text/javascript; charset=utf-8"
    "live.js" "text/javascript; charset=utf-8"
    "report.js" "text/javascript; charset=utf-8"
    "state.js" "text/javascript; charset=utf-8"
    "tables.js" "text/javascript; charset=utf-8"
};

/// The file of that name.
pub(super) fn answer(name: &str) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return not_found();
    };
    let mut response = warp::reply::with_status(asset.text, StatusCode::OK).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(asset.content_type),
    );
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    );
    // A newer daemon has a newer page.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str) -> &'static str {
        ASSETS
            .iter()
            .find(|asset| asset.name == name)
            .map_or_else(|| panic!("{name} is not embedded"), |asset| asset.text)
    }

    /// What stands in quotes after each `marker`.
    fn quoted_after<'t>(text: &'t str, marker: &'t str) -> impl Iterator<Item = &'t str> {
        text.split(marker)
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
    }

    #[test]
    fn what_the_page_names_is_embedded_and_everything_embedded_is_named() {
        let mut named = std::collections::BTreeSet::from(["index.html"]);
        for marker in ["src=\"/page/", "href=\"/page/"] {
            named.extend(quoted_after(text("index.html"), marker));
        }
        for asset in ASSETS {
            named.extend(quoted_after(asset.text, "from \"./"));
        }
        let embedded: std::collections::BTreeSet<_> = ASSETS.iter().map(|a| a.name).collect();
        assert_eq!(named, embedded);
    }

    #[test]
    fn nothing_comes_from_elsewhere_and_nothing_is_inline() {
        for asset in ASSETS {
            let plain = asset.text.replace("http://www.w3.org/", "");
            for outside in [
                "http://",
                "https://",
                "//cdn",
                "@import",
                "innerHTML",
                "eval(",
            ] {
                assert!(!plain.contains(outside), "{}: {outside}", asset.name);
            }
        }
        let page = text("index.html");
        for inline in [
            "<style",
            " style=",
            " onclick=",
            " onload=",
            " onsubmit=",
            " onerror=",
        ] {
            assert!(!page.contains(inline), "{inline}");
        }
        assert_eq!(page.matches("<script").count(), 1);
    }
}
