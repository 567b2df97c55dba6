//! `GET /api/v1/catalog`: what a plan can be asked for, so that a page can offer it.

use std::sync::OnceLock;

use bytes::Bytes;
use serde::Serialize;
use shv_machine::hardware::Hardware;
use shvplan::budget;
use shvplan::model::families;
use shvplan::source::catalog::{self, Entry};
use warp::Reply as _;
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::Response;

use super::routes::problem;

/// Quantizations that people ask for, most bits first. Others are accepted too, such as `int4:g32`.
const QUANTIZATIONS: &[&str] = &[
    "fp32",
    "bf16",
    "fp16",
    "int8",
    "mxfp8",
    "int6",
    "int5",
    "int4",
    "mxfp4",
    "nvfp4",
    "int3",
    "int2",
    "mixed_4_6",
    "mixed_3_6",
    "mixed_3_4",
    "mixed_2_6",
];

#[derive(Serialize)]
struct Catalog {
    schema: &'static str,
    models: Vec<Model>,
    quantizations: &'static [&'static str],
    machines: Vec<Named>,
    /// The machine that is meant where none is named.
    default_machine: &'static str,
    /// The machine the daemon runs on, where MLX's ceilings of it are known.
    this_machine: Option<Named>,
    /// The computer the daemon runs on, whatever it is.
    computer: Hardware,
    version: &'static str,
}

#[derive(Serialize)]
struct Model {
    name: &'static str,
    title: &'static str,
    aliases: Vec<&'static str>,
    max_context_tokens: Option<u64>,
}

impl Model {
    fn of(entry: &'static Entry) -> Self {
        let built = entry.description().ok();
        let built = built.and_then(|description| families::build(&description).ok());
        Self {
            name: entry.name,
            title: entry.title,
            aliases: entry.aliases.split_whitespace().collect(),
            max_context_tokens: built.and_then(|model| model.max_context_tokens),
        }
    }
}

#[derive(Serialize)]
struct Named {
    name: String,
    title: String,
}

impl From<budget::Machine> for Named {
    fn from(machine: budget::Machine) -> Self {
        Self {
            name: machine.name,
            title: machine.title,
        }
    }
}

/// The same for as long as the program runs, so that it is made once.
pub(super) fn answer() -> Response {
    static TEXT: OnceLock<Result<Bytes, String>> = OnceLock::new();
    let text = TEXT.get_or_init(|| {
        serde_json::to_vec(&whole())
            .map(Bytes::from)
            .map_err(|e| e.to_string())
    });
    match text {
        Ok(text) => {
            let mut response = warp::http::Response::new(text.clone()).into_response();
            response.headers_mut().insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
            response
        }
        Err(why) => problem(StatusCode::INTERNAL_SERVER_ERROR, why),
    }
}

fn whole() -> Catalog {
    let computer = Hardware::this();
    let this = computer
        .machine_name()
        .and_then(|name| budget::find(&name).ok());
    Catalog {
        schema: "shvd.catalog/v1",
        models: catalog::MODELS.iter().map(Model::of).collect(),
        quantizations: QUANTIZATIONS,
        machines: budget::machines().into_iter().map(Named::from).collect(),
        default_machine: budget::default_name(),
        this_machine: this.map(Named::from),
        computer,
        version: env!("CARGO_PKG_VERSION"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_offered_is_accepted() {
        let catalog = whole();
        for name in catalog.quantizations {
            assert!(name.parse::<shvplan::quant::Quant>().is_ok(), "{name}");
        }
        for machine in &catalog.machines {
            assert!(budget::find(&machine.name).is_ok(), "{}", machine.name);
        }
        assert!(catalog.models.iter().all(|m| !m.title.is_empty()));
        assert!(catalog.machines.iter().any(|m| m.name == "m4-pro-48gb"));
    }
}
