//! Readings of the machine that the run happens on.

use shv_machine::processes::{Selector, Watch};
use shv_machine::source::native;

use super::run::MakeSource;

/// Readings of this machine, with the worker among the watched processes.
#[must_use]
pub fn native_source() -> MakeSource {
    Box::new(|pid| {
        native(vec![Watch {
            label: "pressure".to_owned(),
            selector: Selector::Pid(pid),
        }])
    })
}
