//! What the link between machines carries, and how long a message takes.
//!
//! Bandwidths and latencies are published figures, none of them measured by this project; each has a low and a high.
//! Ring: mlx 0.32.2 `distributed/ring` sums in 2·(N − 1) steps of 1/N of the message each. JACCL's mesh exchanges small
//! messages with every other machine at once.

use std::str::FromStr;

/// Which of MLX's backends uses the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// TCP, in a ring.
    Ring,
    /// RDMA over Thunderbolt 5, every machine with every other.
    Jaccl,
}

impl Backend {
    /// The name that `mlx.launch --backend` takes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Jaccl => "jaccl",
        }
    }
}

/// A kind of link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// The name on the command line.
    pub name: &'static str,
    /// MLX's backend over it.
    pub backend: Backend,
    /// Bytes a second one way, from the least to the most.
    pub bytes_per_second: (f64, f64),
    /// Seconds until a small message is there, from the least to the most.
    pub latency_seconds: (f64, f64),
    /// Where the figures come from.
    pub source: &'static str,
}

/// TCP between two Macs: about 300 µs were published as the state before RDMA; a quiet link does better.
const TCP_SECONDS: (f64, f64) = (100e-6, 350e-6);

/// Every kind that is known.
pub const LINKS: &[Link] = &[
    Link {
        name: "ethernet-1g",
        backend: Backend::Ring,
        bytes_per_second: (0.10e9, 0.118e9),
        latency_seconds: TCP_SECONDS,
        source: "line rate less TCP/IP framing; latency as published for TCP between Macs",
    },
    Link {
        name: "ethernet-10g",
        backend: Backend::Ring,
        bytes_per_second: (0.9e9, 1.18e9),
        latency_seconds: TCP_SECONDS,
        source: "line rate less TCP/IP framing; latency as published for TCP between Macs",
    },
    Link {
        name: "thunderbolt4",
        backend: Backend::Ring,
        bytes_per_second: (1.5e9, 3.0e9),
        latency_seconds: TCP_SECONDS,
        source: "30 to 60 % of 40 Gb/s over IP, assumed; latency as published for TCP between Macs",
    },
    Link {
        name: "thunderbolt5",
        backend: Backend::Ring,
        bytes_per_second: (2.5e9, 6.0e9),
        latency_seconds: TCP_SECONDS,
        source: "25 to 60 % of 80 Gb/s over IP, assumed; latency as published for TCP between Macs",
    },
    Link {
        name: "jaccl",
        backend: Backend::Jaccl,
        bytes_per_second: (5.0e9, 7.4e9),
        latency_seconds: (5e-6, 50e-6),
        source: "RDMA over Thunderbolt 5: up to 7.4 GB/s and below 50 µs as published (Apple TN3205 and users)",
    },
];

impl FromStr for Link {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        let known = || LINKS.iter().map(|l| l.name).collect::<Vec<_>>().join(", ");
        LINKS
            .iter()
            .find(|link| link.name == given)
            .copied()
            .ok_or_else(|| format!("'{given}' is not a link: accepted are {}", known()))
    }
}

/// Which end of the link's interval is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Least latency, most bandwidth.
    Best,
    /// In the middle of both, as geometric means.
    Middle,
    /// Most latency, least bandwidth.
    Worst,
}

impl Link {
    fn figures(&self, end: End) -> (f64, f64) {
        let ((slow, fast), (near, far)) = (self.bytes_per_second, self.latency_seconds);
        match end {
            End::Best => (fast, near),
            End::Middle => ((slow * fast).sqrt(), (near * far).sqrt()),
            End::Worst => (slow, far),
        }
    }

    /// Seconds to hand `bytes` to the next machine.
    #[must_use]
    pub fn send_seconds(&self, bytes: f64, end: End) -> f64 {
        let (rate, latency) = self.figures(end);
        latency + bytes / rate
    }

    /// Seconds until every one of `ranks` machines has the sum of `bytes`.
    #[must_use]
    pub fn sum_seconds(&self, bytes: f64, ranks: u64, end: End) -> f64 {
        let (rate, latency) = self.figures(end);
        let others = ranks.saturating_sub(1) as f64;
        if others == 0.0 {
            return 0.0;
        }
        let ring = 2.0 * others * (latency + bytes / ranks as f64 / rate);
        match self.backend {
            Backend::Ring => ring,
            Backend::Jaccl => ring.min(latency + others * bytes / rate),
        }
    }

    /// Seconds until every one of `ranks` machines has the `bytes` of each.
    #[must_use]
    pub fn gather_seconds(&self, bytes: f64, ranks: u64, end: End) -> f64 {
        let (rate, latency) = self.figures(end);
        let others = ranks.saturating_sub(1) as f64;
        match self.backend {
            Backend::Ring => others * (latency + bytes / rate),
            Backend::Jaccl if others > 0.0 => latency + others * bytes / rate,
            Backend::Jaccl => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_cost_more_with_more_machines_and_nothing_with_one() {
        for link in LINKS {
            let mut last = 0.0;
            assert!(link.sum_seconds(1e6, 1, End::Middle).abs() < f64::EPSILON);
            for ranks in 2..9 {
                let best = link.sum_seconds(1e6, ranks, End::Best);
                let worst = link.sum_seconds(1e6, ranks, End::Worst);
                assert!(best < worst && best > last, "{} × {ranks}", link.name);
                last = best;
            }
        }
    }

    #[test]
    fn an_unknown_link_names_those_that_are_known() {
        let error = "wifi".parse::<Link>().unwrap_err();
        assert!(error.contains("'wifi'") && error.contains("jaccl"));
    }
}
