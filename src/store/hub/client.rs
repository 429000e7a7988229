//! HTTP client for a hub: asks for the metadata of a file and downloads it, resuming broken
//! transfers.

use std::fs::{self, File};
use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
use std::io::{Read, Write};
use std::path::Path;
use std::thread::sleep;

use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LOCATION, RANGE};
use ureq::http::uri::{Scheme, Uri};
use ureq::http::{HeaderMap, Method, Request, Response, StatusCode};
use ureq::{Agent, Body};

use super::env::{HubEnv, HubTimeouts, HubToken};
use super::{HubError, TransferMeter};
use crate::disk;
use crate::store::catalogue::{HubSource, Member};
use crate::store::digest::{CHUNK, Hasher, Pin};
use crate::store::name::BlobName;
use crate::store::place::{self, FileError, at, folder_of};
use crate::types::Bytes;

/// Most redirects that one request follows.
const MAX_REDIRECTS: usize = 5;
/// Most attempts at one file, even if each of them makes progress.
const MAX_ATTEMPTS: u32 = 100;

pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<HubToken>,
    patience: HubTimeouts,
}

/// Metadata of a file, as the hub sends it.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub commit: BlobName,
    pub etag: BlobName,
    pub size: Option<Bytes>,
}

/// Reason why one attempt failed.
enum Setback {
    /// Failure that is worth another attempt; `progress` is true if new bytes had arrived.
    Again {
        why: String,
        progress: bool,
    },
    Fatal(Box<HubError>),
}

impl From<HubError> for Setback {
    fn from(error: HubError) -> Setback {
        Setback::Fatal(Box::new(error))
    }
}

impl From<FileError> for Setback {
    fn from(error: FileError) -> Setback {
        HubError::File(error).into()
    }
}

/// Failure of an attempt before any byte arrived.
fn again(why: impl ToString) -> Setback {
    Setback::Again { why: why.to_string(), progress: false }
}

impl Client {
    pub fn new(env: &HubEnv) -> Client {
        let patience = env.patience;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .accept_encoding("identity")
            .user_agent(concat!("sotto/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(patience.connect))
            .timeout_connect(Some(patience.connect))
            .timeout_recv_response(Some(patience.stall))
            .timeout_per_read(Some(patience.stall))
            .timeout_per_write(Some(patience.stall))
            .build();
        Client { agent: config.into(), endpoint: env.endpoint.clone(), token: env.token.clone(), patience }
    }

    /// Requests the metadata of a file. Redirects to other hosts are not followed, since the hub
    /// itself knows commit, ETag and size.
    pub fn head(&self, source: &HubSource, member: &Member) -> Result<Head, HubError> {
        let place = Place { client: self, source, member };
        self.persist(&place, || {
            let response = place.request(Method::HEAD, None, Follow::SameHost)?;
            Ok(place.read_head(&response)?)
        })
    }

    /// Downloads a file into `incomplete`, resuming an earlier attempt, and renames it to `blob`
    /// once size and digest are right. A file that turns out wrong is removed.
    pub fn download(
        &self,
        source: &HubSource,
        member: &Member,
        head: &Head,
        incomplete: &Path,
        blob: &Path,
        meter: &TransferMeter<'_>,
    ) -> Result<(), HubError> {
        let place = Place { client: self, source, member };
        let fetch = || self.persist(&place, || place.resume(head, incomplete, meter));
        // A file that another program left unfinished may hold anything, so a wrong result gets one
        // attempt from the beginning.
        let inherited = fs::metadata(incomplete).is_ok_and(|meta| meta.len() > 0);
        let mut verdict = member.pin().check(fetch()?);
        if verdict.is_err() {
            place::remove(incomplete)?;
            if inherited {
                verdict = member.pin().check(fetch()?);
            }
        }
        match verdict {
            Ok(()) => Ok(place::settle(incomplete, blob)?),
            Err(mismatch) => {
                place::remove(incomplete)?;
                Err(HubError::Mismatch { repo: source.repo.to_string(), file: member.from.to_string(), mismatch })
            }
        }
    }

    /// Repeats an attempt until it succeeds, fails for good, or `tries` attempts in a row bring no
    /// byte.
    fn persist<T>(&self, place: &Place<'_>, mut attempt: impl FnMut() -> Result<T, Setback>) -> Result<T, HubError> {
        let mut idle = 0;
        for _ in 0..MAX_ATTEMPTS {
            let (why, progress) = match attempt() {
                Ok(value) => return Ok(value),
                Err(Setback::Fatal(error)) => return Err(*error),
                Err(Setback::Again { why, progress }) => (why, progress),
            };
            idle = if progress { 0 } else { idle + 1 };
            if idle >= self.patience.tries {
                return Err(HubError::Unreachable { endpoint: self.endpoint.clone(), why });
            }
            sleep(self.patience.pause * 2u32.pow(idle.saturating_sub(1).min(6)));
        }
        Err(place.refuse(format!("broke off {MAX_ATTEMPTS} times")))
    }
}

/// File of a repository, and the client that requests it.
struct Place<'a> {
    client: &'a Client,
    source: &'a HubSource,
    member: &'a Member,
}

#[derive(Clone, Copy, PartialEq)]
enum Follow {
    SameHost,
    Any,
}

impl Place<'_> {
    fn refuse(&self, why: impl Into<String>) -> HubError {
        HubError::Refused { repo: self.source.repo.to_string(), file: self.member.from.to_string(), why: why.into() }
    }

    fn url(&self) -> Result<Uri, HubError> {
        let HubSource { repo, revision, .. } = self.source;
        let revision = revision.as_str().replace('/', "%2F");
        let url = format!("{}/{repo}/resolve/{revision}/{}", self.client.endpoint, self.member.from);
        let uri: Uri =
            url.parse().map_err(|_| self.refuse(format!("HF_ENDPOINT makes {url:?}, which is no address")))?;
        match uri.scheme_str() {
            Some("http" | "https") => Ok(uri),
            _ => Err(self.refuse("HF_ENDPOINT must begin with http:// or https://")),
        }
    }

    /// Sends a request and follows its redirects itself, so that the token is sent only to the
    /// hub's own host.
    fn request(&self, method: Method, from: Option<u64>, follow: Follow) -> Result<Response<Body>, Setback> {
        let hub = self.url()?;
        let mut uri = hub.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(&method, &uri, from, same_host(&uri, &hub))?;
            if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED {
                return self.judge(response);
            }
            let next = self.redirection(&uri, response.headers())?;
            if follow == Follow::SameHost && !same_host(&next, &hub) {
                return Ok(response);
            }
            uri = next;
        }
        Err(self.refuse(format!("more than {MAX_REDIRECTS} redirects")).into())
    }

    fn send(&self, method: &Method, uri: &Uri, from: Option<u64>, with_token: bool) -> Result<Response<Body>, Setback> {
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(from) = from {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        if let (true, Some(token)) = (with_token, &self.client.token) {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.0));
        }
        let request = request.body(()).map_err(|error| self.refuse(error.to_string()))?;
        self.client.agent.run(request).map_err(|error| match *method == Method::HEAD && is_out_of_reach(&error) {
            true => HubError::Unreachable { endpoint: self.client.endpoint.clone(), why: error.to_string() }.into(),
            false => again(error),
        })
    }

    /// Classifies a response: a busy or broken server is asked again; any other error status is
    /// final.
    fn judge(&self, response: Response<Body>) -> Result<Response<Body>, Setback> {
        let status = response.status();
        match status.as_u16() {
            200 | 206 | 416 => Ok(response),
            408 | 429 | 500..=599 => Err(again(format!("it answers {status}"))),
            401 | 403 => Err(self.refuse(format!("the hub answers {status}; HF_TOKEN may help")).into()),
            _ => Err(self.refuse(format!("the hub answers {status}")).into()),
        }
    }

    fn redirection(&self, from: &Uri, headers: &HeaderMap) -> Result<Uri, HubError> {
        let location = text(headers, LOCATION.as_str()).ok_or_else(|| self.refuse("redirected to nowhere"))?;
        let next = resolve(from, &location).ok_or_else(|| self.refuse(format!("redirected to {location:?}")))?;
        match from.scheme() == Some(&Scheme::HTTPS) && next.scheme() != Some(&Scheme::HTTPS) {
            true => Err(self.refuse("redirected from https to an unprotected address")),
            false => Ok(next),
        }
    }

    fn read_head(&self, response: &Response<Body>) -> Result<Head, HubError> {
        let headers = response.headers();
        let linked = |name: &str, plain: &str| text(headers, name).or_else(|| text(headers, plain));
        let etag = linked("x-linked-etag", ETAG.as_str()).ok_or_else(|| self.refuse("the hub sends no ETag"))?;
        let size = match response.status().is_redirection() {
            true => text(headers, "x-linked-size"),
            false => linked("x-linked-size", CONTENT_LENGTH.as_str()),
        };
        let commit = text(headers, "x-repo-commit").ok_or_else(|| self.refuse("the hub does not name the commit"))?;
        Ok(Head {
            commit: BlobName::single(commit)?,
            etag: BlobName::single(etag.trim_start_matches("W/").trim_matches('"'))?,
            size: size.and_then(|size| size.parse().ok()).map(Bytes),
        })
    }

    /// Makes one attempt to download the missing bytes. Returns size and digest of the whole file.
    fn resume(&self, head: &Head, incomplete: &Path, meter: &TransferMeter<'_>) -> Result<Pin, Setback> {
        let size = head.size.unwrap_or(self.member.pin().size).0;
        let mut draft = Draft::reopen(incomplete, size)?;
        meter.stand_at(draft.len());
        if draft.len() == size {
            return Ok(draft.hasher.finish());
        }
        let have = Some(draft.len()).filter(|have| *have > 0);
        let response = self.request(Method::GET, have, Follow::Any)?;
        let begin = begins_at(&response, size);
        if begin != Some(draft.len()) {
            draft.clear()?;
            meter.stand_at(0);
        }
        if begin != Some(draft.len()) {
            return Err(again("it does not continue where it was asked to"));
        }
        self.copy(response, &mut draft, size, meter)?;
        Ok(draft.hasher.finish())
    }

    fn copy(
        &self,
        response: Response<Body>,
        draft: &mut Draft<'_>,
        size: u64,
        meter: &TransferMeter<'_>,
    ) -> Result<(), Setback> {
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; CHUNK];
        let before = draft.len();
        while draft.len() < size {
            let broken = |why: String| Setback::Again { why, progress: draft.len() > before };
            let n = match body.read(&mut buffer) {
                Ok(0) => return Err(broken(format!("it broke off after {} of {size} bytes", draft.len()))),
                Ok(n) => n,
                Err(error) => return Err(broken(error.to_string())),
            };
            if n as u64 > size - draft.len() {
                draft.clear()?;
                return Err(self.refuse(format!("the hub sends more than the {size} bytes it announced")).into());
            }
            draft.push(&buffer[..n]).map_err(|error| draft.refuse(error, size))?;
            meter.advance(n);
        }
        Ok(())
    }
}

/// Unfinished download: the file, and the digest of its bytes so far.
struct Draft<'a> {
    path: &'a Path,
    file: File,
    hasher: Hasher,
}

impl Draft<'_> {
    /// Opens and hashes the file of an earlier attempt. A file longer than `size` is emptied.
    fn reopen(path: &Path, size: u64) -> Result<Draft<'_>, FileError> {
        let file = File::options().create(true).read(true).append(true).open(path).map_err(at(path))?;
        let mut draft = Draft { path, file, hasher: Hasher::default() };
        if draft.file.metadata().map_err(at(path))?.len() > size {
            draft.clear()?;
        }
        let mut buffer = vec![0; CHUNK];
        loop {
            match draft.file.read(&mut buffer).map_err(at(path))? {
                0 => return Ok(draft),
                n => draft.hasher.update(&buffer[..n]),
            }
        }
    }

    fn len(&self) -> u64 {
        self.hasher.size()
    }

    fn clear(&mut self) -> Result<(), FileError> {
        self.hasher = Hasher::default();
        self.file.set_len(0).map_err(at(self.path))
    }

    /// Error for a failed write to a file of `size` bytes. For a full disk it names the missing
    /// bytes.
    fn refuse(&self, error: FileError, size: u64) -> HubError {
        match disk::is_full(&error.source) {
            true => disk::full(folder_of(self.path), Bytes(size - self.len())).into(),
            false => error.into(),
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.file.write_all(bytes).map_err(at(self.path))?;
        self.hasher.update(bytes);
        Ok(())
    }
}

/// Offset in the file at which the body of a response begins; `None` if the response holds no part
/// of the file.
fn begins_at(response: &Response<Body>, size: u64) -> Option<u64> {
    match response.status() {
        StatusCode::OK => Some(0),
        StatusCode::PARTIAL_CONTENT => {
            let range = text(response.headers(), CONTENT_RANGE.as_str())?;
            let (span, total) = range.strip_prefix("bytes ")?.split_once('/')?;
            let whole = total == "*" || total.parse() == Ok(size);
            span.split_once('-').filter(|_| whole)?.0.parse().ok()
        }
        _ => None,
    }
}

/// Whether no connection could be made. Before the first byte there is no retry, so that a machine
/// without network fails at once.
fn is_out_of_reach(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
        ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => true,
        ureq::Error::Io(error) => matches!(error.kind(), ConnectionRefused | NetworkUnreachable | HostUnreachable),
        _ => false,
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(|value| value.trim().to_owned())
}

/// Whether scheme, host and port are the same: only then may the token be sent.
fn same_host(a: &Uri, b: &Uri) -> bool {
    let port = |uri: &Uri| uri.port_u16().unwrap_or(if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 });
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    a.scheme() == b.scheme() && host(a) == host(b) && port(a) == port(b)
}

/// Resolves a `Location`, absolute or relative to `from` (RFC 3986, 4.2). `None` if it is neither
/// http nor https.
fn resolve(from: &Uri, location: &str) -> Option<Uri> {
    let (scheme, authority) = (from.scheme_str()?, from.authority()?.as_str());
    let absolute = match location {
        l if l.starts_with("http://") || l.starts_with("https://") => l.to_owned(),
        l if l.starts_with("//") => format!("{scheme}:{l}"),
        l if l.starts_with('/') => format!("{scheme}://{authority}{l}"),
        l if l.contains("://") => return None,
        l => format!("{scheme}://{authority}{}/{l}", from.path().rsplit_once('/')?.0),
    };
    let uri: Uri = absolute.parse().ok()?;
    uri.host().is_some_and(|host| !host.is_empty()).then_some(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_resolve_as_browsers_do() {
        let from: Uri = "https://hub.example:8443/a/b?q=1".parse().unwrap();
        for (location, expected) in [
            ("https://cdn.example/x?y=1", Some("https://cdn.example/x?y=1")),
            ("//cdn.example/x", Some("https://cdn.example/x")),
            ("/api/x", Some("https://hub.example:8443/api/x")),
            ("c", Some("https://hub.example:8443/a/c")),
            ("file:///etc/passwd", None),
            ("http://", None),
        ] {
            assert_eq!(resolve(&from, location).map(|uri| uri.to_string()).as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn only_the_very_same_host_is_the_same() {
        let hub: Uri = "https://hub.example/a".parse().unwrap();
        for (other, same) in [
            ("https://HUB.example/b", true),
            ("https://hub.example:443/", true),
            ("http://hub.example/", false),
            ("https://hub.example:444/", false),
            ("https://evil.hub.example/", false),
            ("https://hub.example.evil/", false),
        ] {
            assert_eq!(same_host(&other.parse().unwrap(), &hub), same, "{other}");
        }
    }
}
