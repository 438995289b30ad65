//! Compiles `proto/` with protox, so that no protoc is needed on the machine.

use std::error::Error;
use std::path::{Path, PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("../../proto");
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    println!("cargo:rerun-if-changed={}", root.display());

    let descriptors = protox::compile(&files, [root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;

    let mut config = prost_build::Config::new();
    // Ordered maps keep equal messages equal byte for byte; `Bytes` fields share the received frame.
    config.btree_map(["."]).bytes(["."]);
    // These hold secrets; `src/secret.rs` has a `Debug` for each that does not show them.
    config.skip_debug([
        "tenantry.internal.v1.SigningKey",
        "tenantry.internal.v1.WebhookSpec",
        "tenantry.v1.CreateWebhookRequest",
        "tenantry.v1.CreateWebhookResponse",
        "tenantry.v1.UpdateWebhookRequest",
    ]);
    tonic_prost_build::configure().compile_fds_with_config(descriptors, config)?;
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            println!("cargo:rerun-if-changed={}", path.display());
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            println!("cargo:rerun-if-changed={}", path.display());
            files.push(path);
        }
    }
    Ok(())
}
