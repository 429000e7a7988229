//! `sotto models`: the catalogue, and which of its models are installed.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::args::Models;
use super::console::error_text;
use super::context::AppContext;
use super::exit::Several;
use super::{files, signals};
use crate::engine::{ModelPart, Purpose, Result, local};
use crate::store::import::{piper, whisper};
use crate::store::{Catalogue, CatalogueEntry, FileState, PROFILES, Store};

pub fn run(args: &Models, context: &AppContext) -> Result<()> {
    let store = context.store()?;
    match args {
        Models::List { format } => list(&store, format.json),
        Models::Pull { names, profile, format } => {
            let wanted = match (profile, &names[..]) {
                (None, []) => of_pipeline(store.catalogue(), context)?,
                _ => named(store.catalogue(), names, profile.as_deref())?,
            };
            pull(&store, &wanted, format.json, context)
        }
        Models::Verify { names, format } => verify(&store, names, format.json, context),
        Models::Path { name, file, format } => path(&store, name, file.as_deref(), format.json),
        Models::Import { kind, source, destination } => import(kind, source, destination, context),
    }
}

fn list(store: &Store, as_json: bool) -> Result<()> {
    let rows = store.catalogue().models().map(|entry| Ok((entry, store.state(entry)?))).collect::<Result<Vec<_>>>()?;
    if as_json {
        let models: Vec<_> = rows.iter().map(|(entry, state)| entry_json(entry, state)).collect();
        return super::print_json(&json!({ "models": models }));
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{:<20} {:<9}{:>10}{:>11}  {:<11}{:<24}about",
        "model", "kind", "download", "in memory", "state", "licence"
    )?;
    for (entry, state) in rows {
        let (download, loaded) = (entry.download_bytes().to_string(), entry.loaded_bytes().to_string());
        let (kind, state) = (entry.kind.name(), state.name());
        writeln!(
            out,
            "{:<20} {kind:<9}{download:>10}{loaded:>11}  {state:<11}{:<24}{}",
            entry.name.as_str(),
            entry.licence,
            entry.about
        )?;
    }
    Ok(())
}

fn entry_json(entry: &CatalogueEntry, state: &FileState) -> Value {
    json!({
        "name": entry.name.as_str(),
        "kind": entry.kind.name(),
        "about": entry.about,
        "profiles": entry.profiles,
        "licence": entry.licence,
        "revision": entry.revision,
        "download_bytes": entry.download_bytes().0,
        "loaded_bytes": entry.loaded_bytes().0,
        "state": state.name(),
    })
}

/// Model to pull, and the stand-in to pull if the only hub that has it cannot be reached.
struct Wanted<'a> {
    entry: &'a CatalogueEntry,
    stand_in: Option<&'a CatalogueEntry>,
}

/// Selects the models that were named, or those of a profile, and no others.
fn named<'a>(catalogue: &'a Catalogue, names: &[String], profile: Option<&str>) -> Result<Vec<Wanted<'a>>> {
    let alone = |entry| Wanted { entry, stand_in: None };
    if let Some(profile) = profile {
        let known = PROFILES.contains(&profile);
        let refused =
            || super::Usage(format!("there is no profile {profile:?}; choose one of {}", PROFILES.join(", ")));
        let models = || catalogue.profile(profile).into_iter().map(alone).collect();
        return if known { Ok(models()) } else { Err(refused().into()) };
    }
    names.iter().map(|name| Ok(alone(catalogue.find(name)?))).collect()
}

/// Selects the models that the pipeline uses. A model of the user's own is installed already.
fn of_pipeline<'a>(catalogue: &'a Catalogue, context: &AppContext) -> Result<Vec<Wanted<'a>>> {
    let plan = context.plan();
    let find = |part: ModelPart| {
        let stand_in = plan.models.stand_in.as_ref().filter(|_| part == ModelPart::LanguageModel);
        let stand_in = stand_in.map(|name| catalogue.find(name)).transpose()?;
        Ok(Wanted { entry: catalogue.find(part.model(plan))?, stand_in })
    };
    let here = |part: &ModelPart| local(*part, part.model(plan)).is_some();
    let mut wanted = ModelPart::of(plan, Purpose::Conversation)
        .into_iter()
        .filter(|part| !here(part))
        .map(find)
        .collect::<Result<Vec<_>>>()?;
    for voice in plan.tts.voices.iter().filter(|voice| local(ModelPart::Voice, voice).is_none()) {
        wanted.push(Wanted { entry: catalogue.find(voice)?, stand_in: None });
    }
    // Models that may need the hub come first, so that one line reports whether it can be reached.
    wanted.sort_by_key(|wanted| wanted.stand_in.is_none());
    Ok(wanted)
}

fn pull(store: &Store, wanted: &[Wanted], as_json: bool, context: &AppContext) -> Result<()> {
    let progress = context.console().progress();
    let under_way = store.under_way();
    signals::before_end(move || under_way.end().iter().for_each(|folder| signals::remove(folder)));
    let mut pulled = Vec::new();
    for Wanted { entry, stand_in } in wanted {
        let installed = match stand_in {
            Some(other) => store.pull_or(entry, other, progress.as_ref())?,
            None => store.pull(entry, progress.as_ref())?,
        };
        pulled.push(json!({ "name": installed.name.as_str(), "path": files::json(&installed.dir) }));
    }
    if as_json { super::print_json(&json!({ "models": pulled })) } else { Ok(()) }
}

fn verify(store: &Store, names: &[String], as_json: bool, context: &AppContext) -> Result<()> {
    let mut bad = Vec::new();
    let mut results = Vec::new();
    let names = to_verify(store, names)?;
    for name in &names {
        let result = store.verify(name).map_err(anyhow::Error::from);
        let why = result.as_ref().err().map(error_text);
        results.push(json!({ "name": name, "ok": why.is_none(), "why": why }));
        match result {
            Ok(()) if as_json => {}
            Ok(()) => super::print_line(&format!("{name}: ok"))?,
            Err(error) => bad.push(error),
        }
    }
    if as_json {
        super::print_json(&json!({ "models": results }))?;
    }
    if bad.len() < 2 {
        return bad.pop().map_or(Ok(()), Err);
    }
    bad.iter().for_each(|error| context.console().error(error));
    Err(Several::new(format!("{} of {} models are not as they should be", bad.len(), names.len()), &bad[0]).into())
}

/// Selects the named models, or all that are installed.
fn to_verify(store: &Store, names: &[String]) -> Result<Vec<String>> {
    if !names.is_empty() {
        return Ok(names.to_vec());
    }
    let mut here = Vec::new();
    for entry in store.catalogue().models() {
        if store.state(entry)? != FileState::Missing {
            here.push(entry.name.as_str().to_owned());
        }
    }
    Ok(here)
}

fn path(store: &Store, name: &str, file: Option<&str>, as_json: bool) -> Result<()> {
    let installed = store.locate(name)?;
    let path = match file {
        None => installed.dir,
        Some(file) if installed.names().any(|known| known == file) => installed.file(file),
        Some(file) => {
            let known = installed.names().collect::<Vec<_>>().join(", ");
            return Err(super::Usage(format!("{name} has no file {file:?}; it has {known}")).into());
        }
    };
    if as_json {
        return super::print_json(&json!({ "name": name, "path": files::json(&path) }));
    }
    files::print(&path)
}

/// Converts a model of the user's own into files in the folder `destination`.
fn import(kind: &str, source: &Path, destination: &Path, context: &AppContext) -> Result<()> {
    let made: &[&str] = match kind {
        "whisper" => &["whisper.ggml", whisper::onnx::FILES[0], whisper::onnx::FILES[1]],
        "piper" => &piper::FILES,
        _ => return Err(super::Usage(format!("{kind:?} cannot be imported; choose \"whisper\" or \"piper\"")).into()),
    };
    let mut read = source.as_os_str().to_owned();
    read.push(".json");
    let read = [source.to_owned(), read.into(), source.join("model.bin"), source.join("vocabulary.txt")];
    let written = made.iter().map(|name| destination.join(name)).chain([destination.to_owned()]);
    for output in written {
        read.iter().try_for_each(|input| files::keep_apart(input, &output))?;
    }
    let folder = destination.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Converted beside the destination, so that a failure leaves the destination unchanged.
    let work = tempfile::Builder::new().prefix(".sotto-").tempdir_in(folder);
    let work = work.with_context(|| folder.display().to_string())?;
    signals::unfinished(work.path().to_owned());
    match kind {
        "whisper" => made.iter().try_for_each(|name| whisper::convert(source, &work.path().join(name)))?,
        _ => piper::convert(source, work.path())?,
    }
    std::fs::create_dir_all(destination).with_context(|| destination.display().to_string())?;
    for name in made {
        let path = destination.join(name);
        std::fs::rename(work.path().join(name), &path).with_context(|| path.display().to_string())?;
        context.console().note(&format!("wrote {}", path.display()));
    }
    Ok(())
}
