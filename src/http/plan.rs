//! `POST /api/v1/plan`: the report that `shvplan --format json` prints, for a model of the catalog or one described in
//! the request. Nothing is read from this machine's disk for a caller.

use shvplan::budget::{self, Backend};
use shvplan::plan::Request;
use shvplan::report::{self, Report};
use shvplan::{advice, verdict};
use warp::Reply as _;
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::Response;

use super::question::{self, Refusal, bad};
use super::routes::problem;

pub(super) fn answer(body: &[u8]) -> Response {
    match planned(body) {
        Ok(text) => {
            let mut response = text.into_response();
            response.headers_mut().insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
            response
        }
        Err((status, why)) => problem(status, &why),
    }
}

fn planned(body: &[u8]) -> Result<String, Refusal> {
    let mut body = question::object(body)?;
    let explain = question::take(&mut body, "explain")?.unwrap_or(false);
    let asked = question::asked(body)?;
    let machine = match asked.machine {
        Some(machine) => machine,
        None => budget::find(budget::default_name()).map_err(|e| bad("machine", e))?,
    };
    let request = Request {
        model: &asked.model,
        scheme: &asked.scheme,
        workload: asked.workload,
        machine: &machine,
        backend: Backend::Metal,
        limits: asked.limits,
        margin_bytes: verdict::MARGIN_BYTES,
    };
    let refused = |e: shvplan::plan::PlanError| (StatusCode::UNPROCESSABLE_ENTITY, e.to_string());
    let plan = request.plan().map_err(refused)?;
    let counsel = advice::advise(&request);
    let report = Report {
        subject: &asked.subject,
        request: &request,
        plan: &plan,
        counsel: &counsel,
        explain,
    };
    report::json::render(&report).map_err(refused)
}
