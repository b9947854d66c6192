//! Writes the good inputs of each target to `corpus/<target>`, where cargo-fuzz begins.

use std::{fs, io, path::Path};

fn main() -> io::Result<()> {
    for target in &auth_service::fuzz::TARGETS {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
        fs::create_dir_all(&dir)?;
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs::write(dir.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
