//! A model hub on this machine that can be told to misbehave. It serves
//! `/{repo}/resolve/{revision}/{file}` with the headers of the real one and keeps what it was
//! asked.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the hub does with one request for bytes (or, with `on_head`, for headers).
#[derive(Clone, Debug)]
pub enum Act {
    Serve,
    /// The whole file from its beginning, whatever was asked for.
    IgnoreRange,
    /// So many bytes, then the connection closes.
    Truncate(usize),
    /// So many bytes, then nothing more on an open connection.
    Stall(usize),
    Status(u16),
    Redirect(String),
    /// The announced number of bytes, all wrong.
    Garble,
    /// More bytes than the headers of the file said.
    TooLong,
}

#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub token: Option<String>,
    pub range: Option<String>,
}

#[derive(Clone)]
pub struct File {
    pub bytes: Vec<u8>,
    pub etag: String,
    /// A large file: its size and ETag come in the `X-Linked-` headers.
    pub linked: bool,
}

#[derive(Default)]
struct Inside {
    files: BTreeMap<String, File>,
    commit: String,
    on_get: VecDeque<Act>,
    on_head: VecDeque<Act>,
    for_ever: Option<Act>,
    asked: Vec<Asked>,
}

#[derive(Clone)]
pub struct FakeHub {
    inside: Arc<Mutex<Inside>>,
    pub endpoint: String,
}

impl FakeHub {
    pub fn start() -> FakeHub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let inside = Arc::new(Mutex::new(Inside { commit: COMMIT.into(), ..Inside::default() }));
        let hub = FakeHub { inside, endpoint };
        let shared = hub.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let hub = shared.clone();
                thread::spawn(move || hub.answer(stream));
            }
        });
        hub
    }

    /// Puts a file at `path`, as in `/org/repo/resolve/main/model.bin`.
    pub fn put(&self, path: &str, bytes: &[u8], etag: &str) {
        let file = File { bytes: bytes.to_vec(), etag: etag.into(), linked: etag.len() == 64 };
        self.inside.lock().unwrap().files.insert(path.into(), file);
    }

    pub fn commit(&self, commit: &str) {
        self.inside.lock().unwrap().commit = commit.into();
    }

    /// The acts for the next requests for bytes; after them it serves.
    pub fn on_get(&self, acts: impl IntoIterator<Item = Act>) {
        self.inside.lock().unwrap().on_get = acts.into_iter().collect();
    }

    pub fn on_head(&self, acts: impl IntoIterator<Item = Act>) {
        self.inside.lock().unwrap().on_head = acts.into_iter().collect();
    }

    /// Whatever it is asked, from now on.
    pub fn for_ever(&self, act: Act) {
        self.inside.lock().unwrap().for_ever = Some(act);
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.inside.lock().unwrap().asked.clone()
    }

    pub fn gets(&self) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.method == "GET").collect()
    }

    fn answer(&self, stream: TcpStream) {
        let Some(asked) = read_request(&stream) else { return };
        let (file, commit, act) = {
            let mut inside = self.inside.lock().unwrap();
            inside.asked.push(asked.clone());
            let queue = if asked.method == "HEAD" { &mut inside.on_head } else { &mut inside.on_get };
            let act = queue.pop_front().or(inside.for_ever.clone()).unwrap_or(Act::Serve);
            (inside.files.get(&asked.path).cloned(), inside.commit.clone(), act)
        };
        // A client that has had enough may close first: that is no failure of the hub.
        let _ = match file {
            Some(file) => respond(&stream, &asked, &file, &commit, act),
            None => send(&stream, "404 Not Found", &[], b""),
        };
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn respond(stream: &TcpStream, asked: &Asked, file: &File, commit: &str, act: Act) -> std::io::Result<()> {
    let mut headers = vec![format!("X-Repo-Commit: {commit}")];
    match file.linked {
        true => headers.extend([
            format!("ETag: \"not-{}\"", &file.etag[..8]),
            format!("X-Linked-Etag: \"{}\"", file.etag),
            format!("X-Linked-Size: {}", file.bytes.len()),
        ]),
        false => headers.push(format!("ETag: W/\"{}\"", file.etag)),
    }
    let size = file.bytes.len();
    let from = asked.range.as_deref().and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let from = if matches!(act, Act::IgnoreRange) { None } else { from.filter(|from| *from < size) };
    let body = &file.bytes[from.unwrap_or(0)..];
    let status = if from.is_some() { "206 Partial Content" } else { "200 OK" };
    if let Some(from) = from {
        headers.push(format!("Content-Range: bytes {from}-{}/{size}", size - 1));
    }
    match act {
        Act::Status(code) => return send(stream, &format!("{code} Told To"), &[], b""),
        Act::Redirect(to) => {
            headers.push(format!("Location: {to}"));
            return send(stream, "302 Found", &headers, b"");
        }
        _ => {}
    }
    if asked.method == "HEAD" {
        headers.push(format!("Content-Length: {size}"));
        return write_head(stream, status, &headers);
    }
    match act {
        Act::Garble => send(stream, status, &headers, &vec![b'?'; body.len()]),
        Act::TooLong => send(stream, status, &headers, &[body, b"and more"].concat()),
        Act::Truncate(n) | Act::Stall(n) => {
            headers.push(format!("Content-Length: {}", body.len()));
            write_head(stream, status, &headers)?;
            (&*stream).write_all(&body[..n.min(body.len())])?;
            if matches!(act, Act::Stall(_)) {
                thread::sleep(Duration::from_secs(20));
            }
            Ok(())
        }
        _ => send(stream, status, &headers, body),
    }
}

fn send(stream: &TcpStream, status: &str, headers: &[String], body: &[u8]) -> std::io::Result<()> {
    let length = format!("Content-Length: {}", body.len());
    write_head(stream, status, &[headers, &[length]].concat())?;
    (&*stream).write_all(body)
}

fn write_head(mut stream: &TcpStream, status: &str, headers: &[String]) -> std::io::Result<()> {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    write!(stream, "HTTP/1.1 {status}\r\n{headers}Connection: close\r\n\r\n")
}

fn read_request(stream: &TcpStream) -> Option<Asked> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    let mut words = first.split(' ');
    let mut asked = Asked { method: words.next()?.into(), path: words.next()?.into(), token: None, range: None };
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        match name.to_ascii_lowercase().as_str() {
            "authorization" => asked.token = Some(value.trim().into()),
            "range" => asked.range = Some(value.trim().into()),
            _ => {}
        }
    }
    Some(asked)
}
