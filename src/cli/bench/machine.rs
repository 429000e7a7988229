//! Description of the machine that a measurement runs on.

use sotto_kernels::Simd;

use crate::types::Bytes;

/// Number of CPU cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Name of the kernels that the language model computes with.
pub fn kernels() -> String {
    Simd::from_env().map_or_else(|refused| refused.to_string(), |simd| simd.name().to_owned())
}

/// Size of the main memory; `None` where the system does not report it.
pub fn memory() -> Option<Bytes> {
    told_by_the_system()
}

#[cfg(target_os = "macos")]
fn told_by_the_system() -> Option<Bytes> {
    let said = std::process::Command::new("sysctl").args(["-n", "hw.memsize"]).output().ok()?;
    Some(Bytes(String::from_utf8(said.stdout).ok()?.trim().parse().ok()?))
}

#[cfg(not(target_os = "macos"))]
fn told_by_the_system() -> Option<Bytes> {
    let about = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = about.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Bytes(kibibytes.checked_mul(1024)?))
}

/// Name of the processor as the system reports it; otherwise the architecture.
pub fn cpu() -> String {
    named_by_the_system().unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

#[cfg(target_os = "macos")]
fn named_by_the_system() -> Option<String> {
    let said = std::process::Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"]).output().ok()?;
    let name = String::from_utf8(said.stdout).ok()?;
    (!name.trim().is_empty()).then(|| name.trim().to_owned())
}

#[cfg(not(target_os = "macos"))]
fn named_by_the_system() -> Option<String> {
    let about = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let (_, name) = about.lines().find(|line| line.starts_with("model name"))?.split_once(':')?;
    Some(name.trim().to_owned())
}
