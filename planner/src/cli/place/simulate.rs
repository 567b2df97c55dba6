//! A synthetic fleet: machines that are sold, in states that occur, the same ones every time.

use shvplan::budget;
use shvplan::placement::MachineState;

use super::prometheus::Fleet;

/// Numbers that look random (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most.max(1)
    }
}

/// Draws `count` machines: one in a hundred down, one in a hundred stale, two under pressure.
pub(super) fn fleet(count: u64) -> Fleet {
    let sold = budget::machines();
    let mut dice = Dice(count);
    let mut fleet = Fleet {
        states: Vec::new(),
        machines: Vec::new(),
    };
    for number in 0..count {
        let machine = sold[dice.below(sold.len() as u64) as usize].clone();
        let percent_free = 20 + dice.below(75);
        let state = dice.below(100);
        fleet.states.push(MachineState {
            name: format!("mac-{number:05}"),
            available_bytes: machine.memory_bytes / 100 * percent_free,
            reserved_bytes: 0,
            working_set_bytes: Some(machine.working_set_bytes),
            wired_bytes: 0,
            age_seconds: if state == 1 { 3600.0 } else { 5.0 },
            up: state != 0,
            under_pressure: state == 2 || state == 3,
            bandwidth_bytes_per_second: Some(machine.bandwidth_bytes_per_second),
            kind: 0,
        });
        fleet.machines.push(machine);
    }
    fleet
}
