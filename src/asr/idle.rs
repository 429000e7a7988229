//! Number of cores that are idle at this moment.

/// Number of cores on which only the caller runs, by the system's count of runnable tasks; `None`
/// where the system does not report it.
pub fn idle_cores() -> Option<usize> {
    let cores = std::thread::available_parallelism().ok()?.get();
    let others = runnable(&std::fs::read_to_string("/proc/loadavg").ok()?)?.saturating_sub(1);
    Some(cores.saturating_sub(others))
}

/// Number of tasks that run or could run: the fourth field of `/proc/loadavg`, "runnable/all"
/// (proc(5)).
fn runnable(loadavg: &str) -> Option<usize> {
    loadavg.split_ascii_whitespace().nth(3)?.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_of_runnable_tasks_is_read() {
        assert_eq!(runnable("0.54 1.60 1.95 3/345 12345\n"), Some(3));
        for damaged in ["", "0.5 1.6 1.9", "0.5 1.6 1.9 x/3 4"] {
            assert_eq!(runnable(damaged), None, "{damaged:?}");
        }
    }
}
