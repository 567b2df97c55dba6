//! Which machine of a fleet takes which model: the machines' states and the models' needs go in, a place or the reason for
//! none comes out for each.
//!
//! Models are placed one after the other, the one that needs most first. A machine's room shrinks by what was placed on
//! it, so that no machine is given more than it has. Every choice is by a total order, so equal input gives equal output.

use crate::timeline::Estimate;

/// What a machine has, as its daemon says.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineState {
    /// What it is called.
    pub name: String,
    /// Bytes that may be taken now, without a running program's memory: less than nothing is nothing.
    pub available_bytes: u64,
    /// Bytes promised to launches and not in use yet: no part of either room.
    pub reserved_bytes: u64,
    /// The GPU's working set, where it is known.
    pub working_set_bytes: Option<u64>,
    /// Bytes of the working set that are wired already.
    pub wired_bytes: u64,
    /// Seconds since the reading.
    pub age_seconds: f64,
    /// Whether it answers.
    pub up: bool,
    /// Whether the kernel reports memory pressure.
    pub under_pressure: bool,
    /// Bytes a second, where the chip is known.
    pub bandwidth_bytes_per_second: Option<u64>,
    /// What kind of machine it is: an index into every need's peaks.
    pub kind: usize,
}

/// What a model needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// What it is called.
    pub name: String,
    /// Its peak on each kind of machine.
    pub peaks: Vec<Estimate>,
}

impl Need {
    /// Its peak on a machine; a kind that was not planned has no room large enough.
    fn on(&self, machine: &MachineState) -> Estimate {
        self.peaks.get(machine.kind).copied().unwrap_or(Estimate {
            low: u64::MAX,
            expected: u64::MAX,
            high: u64::MAX,
        })
    }

    fn most(&self) -> u64 {
        self.peaks.iter().map(|p| p.high).max().unwrap_or(0)
    }
}

/// How models are packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// Where the least is left over: large rooms stay whole.
    BestFit,
    /// Where the most is left over: load is even.
    Spread,
    /// As best fit, with nothing on this machine.
    Drain(String),
}

/// What holds for all machines.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// How models are packed.
    pub policy: Policy,
    /// A reading older than this counts as none.
    pub age_max_seconds: f64,
    /// Bytes kept free on each machine.
    pub margin_bytes: u64,
    /// Take room that only the expected peak fits, not the interval's high end.
    pub allow_tight: bool,
}

/// Why a machine did not take a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rejection {
    /// It does not answer.
    Down,
    /// Its reading is too old.
    Stale {
        /// Seconds.
        age_seconds: f64,
    },
    /// It is being drained.
    Drained,
    /// Its memory is under pressure already.
    UnderPressure,
    /// More than is left on it.
    TooSmall {
        /// Bytes that are missing, by the figure that counts.
        missing_bytes: u64,
        /// Whether the GPU's working set binds, rather than what is free.
        working_set_binds: bool,
    },
}

/// Where one model goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Placement {
    /// The machine, as an index; none where nothing has room.
    pub machine: Option<usize>,
    /// Room left on it afterwards.
    pub left_bytes: u64,
    /// Only the expected peak fits there.
    pub tight: bool,
    /// Machines that did not take it, by index, where they were asked for.
    pub rejections: Vec<(usize, Rejection)>,
}

/// Room on a machine while models are placed.
#[derive(Debug, Clone, Copy)]
struct Room {
    bytes: u64,
    working_set_binds: bool,
    closed: Option<Rejection>,
}

impl Room {
    fn of(machine: &MachineState, rules: &Rules) -> Self {
        let free = machine.available_bytes;
        let gpu = machine
            .working_set_bytes
            .map_or(u64::MAX, |set| set.saturating_sub(machine.wired_bytes));
        let drained = matches!(&rules.policy, Policy::Drain(name) if *name == machine.name);
        let closed = if !machine.up {
            Some(Rejection::Down)
        } else if !(0.0..=rules.age_max_seconds).contains(&machine.age_seconds) {
            Some(Rejection::Stale {
                age_seconds: machine.age_seconds,
            })
        } else if drained {
            Some(Rejection::Drained)
        } else if machine.under_pressure {
            Some(Rejection::UnderPressure)
        } else {
            None
        };
        Self {
            bytes: free
                .min(gpu)
                .saturating_sub(machine.reserved_bytes)
                .saturating_sub(rules.margin_bytes),
            working_set_binds: gpu < free,
            closed,
        }
    }
}

/// Places every need; the result is in their order. With `explain`, each says why every other machine did not take it;
/// without, only a need that found no place does.
#[must_use]
pub fn place(
    machines: &[MachineState],
    needs: &[Need],
    rules: &Rules,
    explain: bool,
) -> Vec<Placement> {
    let mut rooms: Vec<Room> = machines.iter().map(|m| Room::of(m, rules)).collect();
    let mut order: Vec<usize> = (0..needs.len()).collect();
    order.sort_by(|&a, &b| {
        let (x, y) = (&needs[a], &needs[b]);
        y.most()
            .cmp(&x.most())
            .then_with(|| x.name.cmp(&y.name))
            .then(a.cmp(&b))
    });
    let mut placed: Vec<Option<Placement>> = vec![None; needs.len()];
    for index in order {
        placed[index] = Some(place_one(
            machines,
            &mut rooms,
            &needs[index],
            rules,
            explain,
        ));
    }
    placed.into_iter().flatten().collect()
}

fn place_one(
    machines: &[MachineState],
    rooms: &mut [Room],
    need: &Need,
    rules: &Rules,
    explain: bool,
) -> Placement {
    let safe = |m: &MachineState| need.on(m).high;
    let counted = |m: &MachineState| {
        if rules.allow_tight {
            need.on(m).expected
        } else {
            need.on(m).high
        }
    };
    let chosen = choose(machines, rooms, rules, safe)
        .map(|i| (i, false))
        .or_else(|| {
            rules
                .allow_tight
                .then(|| choose(machines, rooms, rules, counted))
                .flatten()
                .map(|i| (i, true))
        });
    let rejections = if explain || chosen.is_none() {
        rooms
            .iter()
            .enumerate()
            .filter_map(|(i, room)| Some((i, rejection(room, counted(&machines[i]))?)))
            .collect()
    } else {
        Vec::new()
    };
    let Some((index, tight)) = chosen else {
        return Placement {
            machine: None,
            left_bytes: 0,
            tight: false,
            rejections,
        };
    };
    // What is given away is the most it can take, or all there is where even that is more.
    rooms[index].bytes = rooms[index].bytes.saturating_sub(safe(&machines[index]));
    Placement {
        machine: Some(index),
        left_bytes: rooms[index].bytes,
        tight,
        rejections,
    }
}

fn rejection(room: &Room, bytes: u64) -> Option<Rejection> {
    room.closed.or_else(|| {
        (room.bytes < bytes).then(|| Rejection::TooSmall {
            missing_bytes: bytes - room.bytes,
            working_set_binds: room.working_set_binds,
        })
    })
}

/// The open machine with room enough that the policy likes best; of equals the fastest, then the first by name.
fn choose(
    machines: &[MachineState],
    rooms: &[Room],
    rules: &Rules,
    bytes: impl Fn(&MachineState) -> u64,
) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (i, room) in rooms.iter().enumerate() {
        if room.closed.is_some() || room.bytes < bytes(&machines[i]) {
            continue;
        }
        let better = best.is_none_or(|b| {
            let by_room = match rules.policy {
                Policy::Spread => rooms[b].bytes.cmp(&room.bytes),
                Policy::BestFit | Policy::Drain(_) => room.bytes.cmp(&rooms[b].bytes),
            };
            let (new, old) = (&machines[i], &machines[b]);
            by_room
                .then(
                    old.bandwidth_bytes_per_second
                        .cmp(&new.bandwidth_bytes_per_second),
                )
                .then_with(|| new.name.cmp(&old.name))
                .is_lt()
        });
        if better {
            best = Some(i);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn machine(name: &str, available_bytes: u64) -> MachineState {
        MachineState {
            name: name.to_owned(),
            available_bytes,
            reserved_bytes: 0,
            working_set_bytes: None,
            wired_bytes: 0,
            age_seconds: 1.0,
            up: true,
            under_pressure: false,
            bandwidth_bytes_per_second: None,
            kind: 0,
        }
    }

    fn need(name: &str, expected: u64, high: u64) -> Need {
        Need {
            name: name.to_owned(),
            peaks: vec![Estimate {
                low: expected,
                expected,
                high,
            }],
        }
    }

    fn rules(policy: Policy) -> Rules {
        Rules {
            policy,
            age_max_seconds: 30.0,
            margin_bytes: 0,
            allow_tight: false,
        }
    }

    #[test]
    fn tight_room_is_taken_only_where_it_is_allowed() {
        let machines = [machine("a", 105)];
        let needs = [need("m", 100, 110)];
        let strict = place(&machines, &needs, &rules(Policy::BestFit), false);
        assert_eq!(
            strict[0].rejections,
            [(
                0,
                Rejection::TooSmall {
                    missing_bytes: 5,
                    working_set_binds: false
                }
            )]
        );
        let allowed = Rules {
            allow_tight: true,
            ..rules(Policy::BestFit)
        };
        let loose = place(&machines, &needs, &allowed, false);
        assert_eq!((loose[0].machine, loose[0].tight), (Some(0), true));
    }

    #[test]
    fn what_is_reserved_is_no_room() {
        let machines = [MachineState {
            reserved_bytes: 60,
            ..machine("a", 105)
        }];
        let placed = |bytes| {
            place(
                &machines,
                &[need("m", bytes, bytes)],
                &rules(Policy::BestFit),
                false,
            )[0]
            .machine
        };
        assert_eq!((placed(45), placed(46)), (Some(0), None));
    }

    #[test]
    fn a_reading_without_a_sensible_age_is_stale() {
        for age in [f64::NAN, -1.0, 31.0, f64::INFINITY] {
            let machines = [MachineState {
                age_seconds: age,
                ..machine("a", 1000)
            }];
            let placed = place(
                &machines,
                &[need("m", 1, 1)],
                &rules(Policy::BestFit),
                false,
            );
            assert!(
                matches!(placed[0].rejections[0].1, Rejection::Stale { .. }),
                "{age}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_machine_is_given_more_than_it_has(
            rooms in prop::collection::vec(0_u64..1000, 1..12),
            wants in prop::collection::vec(1_u64..400, 0..30),
            spread: bool,
        ) {
            let machines: Vec<_> = rooms.iter().enumerate().map(|(i, &b)| machine(&format!("m{i}"), b)).collect();
            let needs: Vec<_> = wants.iter().enumerate().map(|(i, &b)| need(&format!("n{i}"), b, b)).collect();
            let policy = if spread { Policy::Spread } else { Policy::BestFit };
            let placed = place(&machines, &needs, &rules(policy), false);
            prop_assert_eq!(placed.len(), needs.len());
            for (at, room) in rooms.iter().enumerate() {
                let given: u64 = placed.iter().zip(&wants).filter(|(p, _)| p.machine == Some(at)).map(|(_, w)| w).sum();
                prop_assert!(given <= *room);
            }
            // What found no place has none left either.
            for (place, want) in placed.iter().zip(&wants) {
                if place.machine.is_none() {
                    for (at, room) in rooms.iter().enumerate() {
                        let larger: u64 = placed.iter().zip(&wants).filter(|(p, w)| p.machine == Some(at) && *w >= want).map(|(_, w)| w).sum();
                        prop_assert!(room - larger < *want);
                    }
                }
            }
        }
    }
}
