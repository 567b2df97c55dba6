//! Constants that were fitted to published speeds: `catalog/fitted.json`, with the rows behind them.

use std::sync::OnceLock;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::budget::Tier;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fitted {
    #[expect(
        dead_code,
        reason = "for readers of the file: where the rows come from, how good the fit is"
    )]
    about: IgnoredAny,
    pub(super) decode: Decode,
    launch: Vec<Launch>,
    pub(super) prefill: Prefill,
    pub(super) intervals: Intervals,
    #[expect(
        dead_code,
        reason = "for readers of the file: rows by machine and model, with what is left over"
    )]
    rows: IgnoredAny,
}

/// Shares of the data sheet's bandwidth and of the cores' arithmetic that decoding reaches.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Decode {
    pub(super) dense_bandwidth_share: f64,
    pub(super) expert_bandwidth_share: f64,
    pub(super) state_bandwidth_share: f64,
    pub(super) fused_bandwidth_share: f64,
    pub(super) fused_products_per_core_second: f64,
    pub(super) fused_products_per_core_second_ultra: f64,
    pub(super) stepped_bandwidth_share: f64,
    pub(super) stepped_products_per_core_second: f64,
    pub(super) latent_flops_share: f64,
}

/// What a kernel costs beside its bytes while decoding, on chips of one size from a generation on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Launch {
    tier: Tier,
    from_generation: u8,
    pub(super) microseconds: f64,
    /// Whether rows of such a chip are among those fitted to; otherwise scaled from its neighbours.
    pub(super) measured: bool,
}

/// The same for prompts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Prefill {
    pub(super) matrix_flops_share: f64,
    pub(super) expert_flops_share: f64,
    pub(super) attention_flops_share: f64,
    pub(super) score_flops_share: f64,
    pub(super) score_bandwidth_share: f64,
    pub(super) stream_bandwidth_share: f64,
    pub(super) launch_microseconds: f64,
    pub(super) recurrent_token_microseconds: f64,
    pub(super) matrix_unit_factor: f64,
    pub(super) bfloat16_share_without_native: f64,
}

/// Factors by which a rate can be lower, and higher.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Intervals {
    pub(super) decode: (f64, f64),
    pub(super) decode_chip_not_measured: (f64, f64),
    pub(super) prefill: (f64, f64),
}

impl Fitted {
    /// What a kernel costs on a chip.
    pub(super) fn launch(&self, tier: Tier, generation: u8) -> &Launch {
        self.launch
            .iter()
            .filter(|l| l.tier == tier && l.from_generation <= generation)
            .max_by_key(|l| l.from_generation)
            .unwrap_or(&self.launch[0])
    }
}

pub(super) fn fitted() -> &'static Fitted {
    static FITTED: OnceLock<Fitted> = OnceLock::new();
    FITTED.get_or_init(|| {
        #[expect(
            clippy::expect_used,
            reason = "shipped data, read by every test that asks for a speed"
        )]
        serde_json::from_str(include_str!("../../catalog/fitted.json"))
            .expect("catalog/fitted.json")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chip_has_a_launch_cost() {
        for machine in crate::budget::machines() {
            let launch = fitted().launch(machine.tier, machine.generation);
            assert_eq!(launch.tier, machine.tier, "{}", machine.name);
        }
    }

    #[test]
    fn shares_are_shares() {
        let (d, p) = (&fitted().decode, &fitted().prefill);
        for share in [
            d.dense_bandwidth_share,
            d.expert_bandwidth_share,
            d.state_bandwidth_share,
            d.fused_bandwidth_share,
            d.stepped_bandwidth_share,
            d.latent_flops_share,
            p.matrix_flops_share,
            p.expert_flops_share,
            p.attention_flops_share,
            p.score_flops_share,
            p.score_bandwidth_share,
            p.stream_bandwidth_share,
            p.bfloat16_share_without_native,
        ] {
            assert!(share > 0.0 && share < 1.0, "{share}");
        }
    }
}
