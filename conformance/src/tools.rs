//! Runs runtime-tools.
pub fn run(_: &std::path::Path, _: &crate::lab::Setup, _: &[String]) -> anyhow::Result<std::process::ExitCode> {
    Ok(std::process::ExitCode::SUCCESS)
}
