//! Memory that the process really holds, by the operating system's count.

use crate::types::Bytes;

/// Memory of this process that is in RAM now: anonymous pages and the touched part of mapped files.
/// `None` where the system does not report it.
pub fn resident() -> Option<Bytes> {
    status_field("VmRSS:")
}

/// Largest amount of RAM that this process has ever held at once.
pub fn peak_resident() -> Option<Bytes> {
    // SAFETY: `usage` is a plain C struct for which all zeroes is a valid value, and getrusage only
    // writes to it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        if libc::getrusage(libc::RUSAGE_SELF, &mut usage) != 0 {
            return None;
        }
        usage
    };
    let peak = u64::try_from(usage.ru_maxrss).ok()?;
    // Linux counts in KiB, macOS in bytes (getrusage(2) of each).
    Some(Bytes(if cfg!(target_os = "macos") { peak } else { peak * 1024 }))
}

/// Bytes that this process may still map before it reaches the system's limit (`ulimit -v`). `None`
/// where there is no limit, or the system does not report what is mapped.
pub fn mappable() -> Option<Bytes> {
    // SAFETY: `limit` is a plain C struct for which all zeroes is a valid value, and getrlimit only
    // writes to it.
    let limit = unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_AS, &mut limit) != 0 {
            return None;
        }
        limit.rlim_cur
    };
    let limited = limit != libc::RLIM_INFINITY;
    let mapped = limited.then(|| status_field("VmSize:")).flatten()?;
    Some(Bytes(limit.saturating_sub(mapped.0)))
}

#[cfg(target_os = "linux")]
fn status_field(name: &str) -> Option<Bytes> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Bytes(kib * 1024))
}

#[cfg(target_os = "macos")]
fn status_field(name: &str) -> Option<Bytes> {
    if name != "VmRSS:" {
        return None;
    }
    // SAFETY: `info` is a plain C struct for which all zeroes is a valid value; proc_pid_rusage
    // writes at most the size that its flavour RUSAGE_INFO_V4 names, which is this struct.
    unsafe {
        let mut info: libc::rusage_info_v4 = std::mem::zeroed();
        let out = (&raw mut info).cast();
        match libc::proc_pid_rusage(libc::getpid(), libc::RUSAGE_INFO_V4, out) {
            0 => Some(Bytes(info.ri_phys_footprint)),
            _ => None,
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn status_field(_name: &str) -> Option<Bytes> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touching_memory_shows() {
        let before = resident().unwrap();
        let block = std::hint::black_box(vec![1u8; 64 << 20]);
        let after = resident().unwrap();
        assert!(after.0 >= before.0 + (48 << 20), "{before} -> {after}");
        // The kernel updates the peak now and then, not at every page.
        assert!(peak_resident().unwrap().0 + (16 << 20) >= after.0);
        drop(block);
    }
}
