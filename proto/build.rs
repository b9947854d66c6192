//! Compiles the contract to Rust and keeps its descriptors, custom options included.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=ihuman");
    let mut files = Vec::new();
    collect(Path::new("ihuman"), &mut files)?;
    files.sort();

    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true).open_files(files)?;
    refuse_undeclared_access(&compiler)?;

    // Encoded by protox and not by prost, which drops custom options.
    let encoded = compiler.encode_file_descriptor_set();
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin"), &encoded)?;

    let descriptors = Message::decode(encoded.as_slice())?;
    // Sorted maps, so that equal messages have equal bytes.
    let mut config = prost_build::Config::new();
    config.btree_map(["."]);
    tonic_prost_build::configure().compile_fds_with_config(descriptors, config)?;
    Ok(())
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|it| it == "proto") {
            files.push(path);
        }
    }
    Ok(())
}

/// The first half of the invariant that no RPC goes without an access rule; the
/// other half is at a service's start.
fn refuse_undeclared_access(compiler: &protox::Compiler) -> Result<(), Box<dyn Error>> {
    let pool = compiler.descriptor_pool();
    let option = pool.get_extension_by_name("ihuman.access.v1.access").ok_or("no access option")?;
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        if !method.options().has_extension(&option) {
            return Err(
                format!("{} declares no (ihuman.access.v1.access)", method.full_name()).into()
            );
        }
    }
    Ok(())
}
