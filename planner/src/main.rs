//! Planner CLI.
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let v: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let m = shvplan::model::families::build(&v).unwrap();
    for q in std::env::args().skip(2) {
        let s = shvplan::quant::Scheme::new(m.dtype, q.parse().unwrap());
        println!(
            "{} {} {} {}",
            q,
            m.parameters(),
            shvplan::weights::total_bytes(&m, &s).unwrap(),
            shvplan::cache::bytes_at_rest(&m, &Default::default(), s.dtype)
        );
    }
}
