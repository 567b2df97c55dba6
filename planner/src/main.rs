//! Planner CLI: the first form, figures only.
use shvplan::cache::{self, KvQuant, Workload};
use shvplan::{model::families, quant::Scheme, weights};

fn main() {
    std::process::exit(match run() {
        Ok(()) => 0,
        Err((code, why)) => {
            eprintln!("shvplan: {why}");
            code
        }
    });
}

fn run() -> Result<(), (i32, String)> {
    let bad = |e: &dyn std::fmt::Display| (2, e.to_string());
    let args: Vec<String> = std::env::args().collect();
    let get = |name: &str| {
        args.iter()
            .position(|a| a == name)
            .and_then(|i| args.get(i + 1))
            .cloned()
    };
    let path = get("--model").unwrap_or_default();
    let bytes = std::fs::read(&path).map_err(|e| bad(&e))?;
    let value = shvplan::source::json::parse(&bytes, shvplan::source::json::Limits::CONFIG)
        .map_err(|e| bad(&e))?;
    let model = families::build(&value).map_err(|e| (4, e.to_string()))?;
    let quant = get("--quant")
        .unwrap_or("bf16".into())
        .parse()
        .map_err(|e| bad(&e))?;
    let scheme = Scheme::new(model.dtype, quant);
    let number =
        |name: &str, default: u64| get(name).and_then(|v| v.parse().ok()).unwrap_or(default);
    let kv_quant = get("--kv-quant").map(|v| {
        let (b, g) = v.split_once(':').unwrap_or((&v, "64"));
        KvQuant {
            bits: b.parse().unwrap_or(8),
            group_size: g.parse().unwrap_or(64),
            start_tokens: number("--quantized-kv-start", 5000),
        }
    });
    let work = Workload {
        context_tokens: number("--context", 4096),
        concurrency: number("--concurrency", 1),
        kv_quant,
        ..Workload::default()
    };
    cache::check(&model, &work).map_err(|e| bad(&e))?;
    let weights = weights::total_bytes(&model, &scheme).map_err(|e| bad(&e))?;
    println!(
        "{{\"model\":{{\"parameters\":{}}},\"footprint\":{{\"weights_bytes\":{weights},\"cache_bytes\":{},\"cache_peak_bytes\":{}}}}}",
        model.parameters(),
        cache::bytes_at_rest(&model, &work, scheme.dtype),
        cache::peak_bytes(&model, &work, scheme.dtype)
    );
    Ok(())
}
