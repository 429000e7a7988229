//! A sound server for tests: PulseAudio with null sinks, in a folder of its own, so that no sound
//! card is needed and no session of the user is touched. `make test` installs it on Debian.

#[path = "skip.rs"]
mod skip;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A sound server and the folder it lives in. Dropping it ends both.
pub struct Server {
    folder: tempfile::TempDir,
    process: Option<Child>,
}

impl Server {
    /// `modules` are lines of a script of the server: its sinks and sources.
    fn prepare(modules: &str) -> Self {
        let server = Server { folder: tempfile::tempdir().unwrap(), process: None };
        for folder in ["run", "home"] {
            fs::create_dir(server.path(folder)).unwrap();
        }
        let socket = server.path("run/pulse.sock");
        let protocol = "load-module module-native-protocol-unix auth-anonymous=1";
        let script = format!("{protocol} socket={}\n{modules}", socket.display());
        fs::write(server.path("server.pa"), script).unwrap();
        // Shared memory makes a client spin for ever when the server ends.
        let client = format!("default-server = unix:{}\nenable-shm = no\nautospawn = no\n", socket.display());
        fs::write(server.path("client.conf"), client).unwrap();
        let alsa = "</usr/share/alsa/alsa.conf>\npcm.!default { type pulse }\nctl.!default { type pulse }\n";
        fs::write(server.path("alsa.conf"), alsa).unwrap();
        server
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn start(&mut self) {
        let mut command = Command::new("pulseaudio");
        command.args(["-n", "-F"]).arg(self.path("server.pa"));
        command.args(["--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=0", "--disallow-exit=1"]);
        command.env("XDG_RUNTIME_DIR", self.path("run")).env("HOME", self.path("home"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().expect("pulseaudio starts"));
        let begun = Instant::now();
        while !self.path("run/pulse.sock").exists() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the sound server does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
            let _ = fs::remove_file(self.path("run/pulse.sock"));
        }
    }
}

impl Server {
    /// Gives `command` the server.
    pub fn lend<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env("PULSE_CLIENTCONFIG", self.path("client.conf")).env("ALSA_CONFIG_PATH", self.path("alsa.conf"));
        command.env("XDG_RUNTIME_DIR", self.path("run"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether the server can be run; where it cannot, that is said, and the test is no proof of
/// anything.
pub fn server(modules: &str) -> Option<Server> {
    let alsa = ["/usr/lib", "/usr/lib64"].iter().any(|lib| holds_plugin(Path::new(lib)));
    let pulse = Command::new("pulseaudio").arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success());
    if alsa && pulse {
        return Some(Server::prepare(modules));
    }
    let test = std::thread::current().name().unwrap_or("a test of real audio streams").to_owned();
    skip::skipped(&test, "pulseaudio or ALSA's plugin for it is not installed; run \"sh scripts/setup-tests.sh\"");
    None
}

fn holds_plugin(lib: &Path) -> bool {
    let plugin = |folder: &Path| folder.join("alsa-lib/libasound_module_pcm_pulse.so").exists();
    let below = fs::read_dir(lib).into_iter().flatten().flatten();
    plugin(lib) || below.map(|entry| entry.path()).any(|folder| plugin(&folder))
}
