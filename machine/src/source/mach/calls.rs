//! The kernel calls that a reading needs, behind a seam: the real ones exist on macOS alone, a stand-in anywhere.

/// `KERN_SUCCESS`.
pub const KERN_SUCCESS: i32 = 0;
/// `MIG_ARRAY_TOO_LARGE`: the caller's buffer is smaller than the answer. macOS 27 says so to a count of 38.
pub const MIG_ARRAY_TOO_LARGE: i32 = -307;

/// What the Mach source asks the kernel for. Every answer is raw; decoding is portable code and tested on recordings.
pub trait HostCalls: Send {
    /// `host_statistics64(HOST_VM_INFO64)`: fills `buffer` from the front. `count` goes in as the number of ints asked
    /// for and comes back as the number written, or, with [`MIG_ARRAY_TOO_LARGE`], as the number that would be.
    /// Answers the `kern_return_t`.
    fn vm_info(&mut self, buffer: &mut [i32], count: &mut u32) -> i32;

    /// `task_info(mach_task_self(), TASK_VM_INFO)`, with `buffer`, `count` and answer as in [`HostCalls::vm_info`].
    fn own_task_vm_info(&mut self, buffer: &mut [i32], count: &mut u32) -> i32;

    /// `vm_kernel_page_size`, the unit of every page count.
    fn page_size_bytes(&self) -> u64;

    /// `sysctlbyname`: the number of bytes written to `buffer`, or `None` when this release has no such name or does not
    /// tell it.
    fn sysctl(&mut self, name: &str, buffer: &mut [u8]) -> Option<usize>;

    /// The state of `com.apple.system.thermalpressurelevel`, by libnotify.
    fn thermal_level(&mut self) -> Option<u64>;

    /// Id of this process.
    fn own_pid(&self) -> u32;

    /// `proc_listallpids`: ids of all processes.
    fn pids(&mut self) -> Vec<u32>;

    /// `proc_name`: the name of a process's program.
    fn name(&mut self, pid: u32) -> Option<String>;

    /// The first arguments of a process (`KERN_PROCARGS2`), the program's path first; empty when the kernel refuses.
    fn arguments(&mut self, pid: u32) -> Vec<String>;

    /// `proc_pid_rusage(RUSAGE_INFO_V4)` as words in the kernel's order; `None` when the process is gone or belongs to
    /// another user (EPERM).
    fn usage(&mut self, pid: u32) -> Option<Usage>;

    /// `proc_pidfdinfo(PROC_PIDFDSOCKETINFO)` of every socket of a process, each the bytes of a `socket_fdinfo`. Empty
    /// when the kernel refuses.
    fn sockets(&mut self, pid: u32) -> Vec<Vec<u8>>;
}

/// The words of a `rusage_info_v4`: 16 bytes of UUID, then 35 counters of 64 bits.
pub type Usage = [u64; 37];
