//! Completions for the shells that people use.

use clap_complete::Shell;

use crate::Generated;

/// Each under the name that the shell looks for.
pub fn scripts() -> Vec<Generated> {
    let shells = [(Shell::Bash, "minicon.bash"), (Shell::Zsh, "_minicon"), (Shell::Fish, "minicon.fish")];
    let script = |(shell, name): (Shell, &str)| {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut minicon::cli::tree(), "minicon", &mut text);
        (name.to_owned(), text)
    };
    shells.map(script).into()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::scripts;

    /// bash itself, with the script loaded, asked as it asks when somebody presses the tabulator.
    fn completed(words: &[&str]) -> Vec<String> {
        let (_, script) = scripts().into_iter().find(|(name, _)| name == "minicon.bash").expect("bash");
        let ask = "
            eval \"$SCRIPT\"
            COMP_WORDS=(\"$@\") COMP_CWORD=$(($# - 1)) COMPREPLY=()
            _minicon minicon \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"
            printf '%s\\n' \"${COMPREPLY[@]}\"";
        let output = Command::new("bash")
            .args(["--norc", "-c", ask, "bash"])
            .args(words)
            .env("SCRIPT", String::from_utf8(script).expect("UTF-8"))
            .output()
            .expect("bash runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
    }

    #[test]
    fn bash_completes_commands_and_flags() {
        assert_eq!(completed(&["minicon", "checkp"]), ["checkpoint"]);
        assert_eq!(completed(&["minicon", "--cgroup-m"]), ["--cgroup-manager"]);
        assert_eq!(completed(&["minicon", "exec", "--ign"]), ["--ignore-paused"]);
        assert_eq!(completed(&["minicon", "run", "--no-s"]), ["--no-subreaper"]);
        assert!(completed(&["minicon", "delete", "--no-s"]).iter().all(String::is_empty));
    }
}
