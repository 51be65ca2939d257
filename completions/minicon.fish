# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_minicon_global_optspecs
    string join \n root= log= log-format= log-level= debug systemd-cgroup cgroup-manager= rootless= trace= trace-format= strict v/version h/help
end

function __fish_minicon_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_minicon_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_minicon_using_subcommand
    set -l cmd (__fish_minicon_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c minicon -n "__fish_minicon_needs_command" -l root -d 'Directory of the containers\' state [default: /run/minicon; rootless: $XDG_RUNTIME_DIR/minicon]' -r -F
complete -c minicon -n "__fish_minicon_needs_command" -l log -d 'Where messages go: a file, journald: or syslog: [default: stderr]' -r -F
complete -c minicon -n "__fish_minicon_needs_command" -l log-format -d 'Format of messages: text or json' -r
complete -c minicon -n "__fish_minicon_needs_command" -l log-level -d 'The least grave message that is written: error, warning or debug [default: warning]' -r
complete -c minicon -n "__fish_minicon_needs_command" -l cgroup-manager -d 'Who makes cgroups: cgroupfs, systemd or disabled (none of its own) [default: cgroupfs]' -r
complete -c minicon -n "__fish_minicon_needs_command" -l rootless -d 'Tolerate cgroup permission errors: true, false or auto' -r
complete -c minicon -n "__fish_minicon_needs_command" -l trace -d 'File to append each step to, and how long it took [default: $MINICON_TRACE]' -r -F
complete -c minicon -n "__fish_minicon_needs_command" -l trace-format -d 'tree, json (lines) or chrome (for Perfetto) [default: by the name: .jsonl, .json]' -r
complete -c minicon -n "__fish_minicon_needs_command" -l debug -d 'Write messages for debugging, as --log-level debug'
complete -c minicon -n "__fish_minicon_needs_command" -l systemd-cgroup -d 'Make cgroups through systemd; cgroupsPath is then slice:prefix:name'
complete -c minicon -n "__fish_minicon_needs_command" -l strict -d 'Refuse what the specification does, also where engines rely on more'
complete -c minicon -n "__fish_minicon_needs_command" -s v -l version -d 'Print the version'
complete -c minicon -n "__fish_minicon_needs_command" -s h -l help -d 'Print help'
complete -c minicon -n "__fish_minicon_needs_command" -f -a "run" -d 'Create and start a container, wait for it and delete it'
complete -c minicon -n "__fish_minicon_needs_command" -f -a "create" -d 'Make a container from a bundle; its program waits for start'
complete -c minicon -n "__fish_minicon_needs_command" -f -a "start" -d 'Start the program of a created container'
complete -c minicon -n "__fish_minicon_needs_command" -f -a "kill" -d 'Send a signal to a container\'s init'
complete -c minicon -n "__fish_minicon_needs_command" -f -a "delete" -d 'Remove a stopped container'
complete -c minicon -n "__fish_minicon_needs_command" -f -a "exec" -d 'Execute another program in a running container'
complete -c minicon -n "__fish_minicon_needs_command" -f -a "pause" -d 'Stop every process of a container where it stands'
complete -c minicon -n "__fish_minicon_needs_command" -f -a "resume" -d 'Let the processes of a paused container go on'
complete -c minicon -n "__fish_minicon_needs_command" -f -a "update" -d 'Change the limits of a container'
complete -c minicon -n "__fish_minicon_needs_command" -f -a "list" -d 'List the containers'
complete -c minicon -n "__fish_minicon_needs_command" -f -a "state" -d 'Print the state of a container as JSON'
complete -c minicon -n "__fish_minicon_needs_command" -f -a "ps" -d 'Show the processes of a container'
complete -c minicon -n "__fish_minicon_needs_command" -f -a "events" -d 'Print statistics and out-of-memory events of a container'
complete -c minicon -n "__fish_minicon_needs_command" -f -a "checkpoint" -d 'Save a running container into files, with criu'
complete -c minicon -n "__fish_minicon_needs_command" -f -a "restore" -d 'Make a container again from saved files, with criu'
complete -c minicon -n "__fish_minicon_needs_command" -f -a "explain" -d 'Print, step by step, what create and start will do; does nothing'
complete -c minicon -n "__fish_minicon_needs_command" -f -a "check" -d 'Tell what would fail on this machine, and the remedy; does nothing'
complete -c minicon -n "__fish_minicon_needs_command" -f -a "trace" -d 'Draw what --trace has recorded'
complete -c minicon -n "__fish_minicon_needs_command" -f -a "spec" -d 'Write a config.json to start from'
complete -c minicon -n "__fish_minicon_needs_command" -f -a "features" -d 'Print what this runtime supports as JSON'
complete -c minicon -n "__fish_minicon_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c minicon -n "__fish_minicon_using_subcommand run" -s b -l bundle -d 'Directory with config.json [default: the current directory]' -r -F
complete -c minicon -n "__fish_minicon_using_subcommand run" -s f -l config -d 'Configuration to use instead of the bundle\'s config.json' -r -F
complete -c minicon -n "__fish_minicon_using_subcommand run" -l console-socket -d 'AF_UNIX socket that receives the master of the container\'s terminal' -r -F
complete -c minicon -n "__fish_minicon_using_subcommand run" -l pidfd-socket -d 'AF_UNIX socket that receives a pidfd of init' -r -F
complete -c minicon -n "__fish_minicon_using_subcommand run" -l pid-file -d 'File to write init\'s pid to' -r -F
complete -c minicon -n "__fish_minicon_using_subcommand run" -l preserve-fds -d 'Hand N further file descriptors, from 3 on, to the container' -r
complete -c minicon -n "__fish_minicon_using_subcommand run" -l no-pivot -d 'Do not use pivot_root (for an initramfs)'
complete -c minicon -n "__fish_minicon_using_subcommand run" -l no-new-keyring -d 'Keep the caller\'s session keyring'
complete -c minicon -n "__fish_minicon_using_subcommand run" -s d -l detach -d 'Leave the container in the background'
complete -c minicon -n "__fish_minicon_using_subcommand run" -l keep -d 'Keep the container when it has exited'
complete -c minicon -n "__fish_minicon_using_subcommand run" -l no-subreaper -d 'Do not become the reaper of the container\'s orphans'
complete -c minicon -n "__fish_minicon_using_subcommand run" -s h -l help -d 'Print help'
complete -c minicon -n "__fish_minicon_using_subcommand create" -s b -l bundle -d 'Directory with config.json [default: the current directory]' -r -F
complete -c minicon -n "__fish_minicon_using_subcommand create" -s f -l config -d 'Configuration to use instead of the bundle\'s config.json' -r -F
complete -c minicon -n "__fish_minicon_using_subcommand create" -l console-socket -d 'AF_UNIX socket that receives the master of the container\'s terminal' -r -F
complete -c minicon -n "__fish_minicon_using_subcommand create" -l pidfd-socket -d 'AF_UNIX socket that receives a pidfd of init' -r -F
complete -c minicon -n "__fish_minicon_using_subcommand create" -l pid-file -d 'File to write init\'s pid to' -r -F
complete -c minicon -n "__fish_minicon_using_subcommand create" -l preserve-fds -d 'Hand N further file descriptors, from 3 on, to the container' -r
complete -c minicon -n "__fish_minicon_using_subcommand create" -l no-pivot -d 'Do not use pivot_root (for an initramfs)'
complete -c minicon -n "__fish_minicon_using_subcommand create" -l no-new-keyring -d 'Keep the caller\'s session keyring'
complete -c minicon -n "__fish_minicon_using_subcommand create" -s h -l help -d 'Print help'
complete -c minicon -n "__fish_minicon_using_subcommand start" -s h -l help -d 'Print help'
complete -c minicon -n "__fish_minicon_using_subcommand kill" -s a -l all -d 'Signal every process of the container'
complete -c minicon -n "__fish_minicon_using_subcommand kill" -s r -l regex -d 'ID is a regular expression: signal every container whose name it matches'
complete -c minicon -n "__fish_minicon_using_subcommand kill" -s h -l help -d 'Print help'
complete -c minicon -n "__fish_minicon_using_subcommand delete" -s f -l force -d 'Kill the container first if it runs'
complete -c minicon -n "__fish_minicon_using_subcommand delete" -s r -l regex -d 'ID is a regular expression: delete every container whose name it matches'
complete -c minicon -n "__fish_minicon_using_subcommand delete" -s h -l help -d 'Print help'
complete -c minicon -n "__fish_minicon_using_subcommand exec" -l console-socket -d 'AF_UNIX socket that receives the master of the terminal' -r -F
complete -c minicon -n "__fish_minicon_using_subcommand exec" -l pidfd-socket -d 'AF_UNIX socket that receives a pidfd of the process' -r -F
complete -c minicon -n "__fish_minicon_using_subcommand exec" -l cwd -d 'Working directory in the container' -r -F
complete -c minicon -n "__fish_minicon_using_subcommand exec" -s e -l env -d 'Environment variable NAME=VALUE, may be repeated' -r
complete -c minicon -n "__fish_minicon_using_subcommand exec" -s u -l user -d 'User, as UID or UID:GID' -r
complete -c minicon -n "__fish_minicon_using_subcommand exec" -s g -l additional-gids -d 'Supplementary group, may be repeated' -r
complete -c minicon -n "__fish_minicon_using_subcommand exec" -s p -l process -d 'File with the process as JSON, as in config.json' -r -F
complete -c minicon -n "__fish_minicon_using_subcommand exec" -l pid-file -d 'File to write the process\'s pid to' -r -F
complete -c minicon -n "__fish_minicon_using_subcommand exec" -l process-label -d 'SELinux label of the process' -r
complete -c minicon -n "__fish_minicon_using_subcommand exec" -l apparmor -d 'AppArmor profile of the process' -r
complete -c minicon -n "__fish_minicon_using_subcommand exec" -s c -l cap -d 'Capability to add, may be repeated' -r
complete -c minicon -n "__fish_minicon_using_subcommand exec" -l preserve-fds -d 'Hand N further file descriptors, from 3 on, to the process' -r
complete -c minicon -n "__fish_minicon_using_subcommand exec" -l cgroup -d 'Cgroup below the container\'s to run in, may be repeated' -r
complete -c minicon -n "__fish_minicon_using_subcommand exec" -s t -l tty -d 'Allocate a terminal'
complete -c minicon -n "__fish_minicon_using_subcommand exec" -s d -l detach -d 'Leave the process in the background'
complete -c minicon -n "__fish_minicon_using_subcommand exec" -l no-new-privs -d 'Set no_new_privs'
complete -c minicon -n "__fish_minicon_using_subcommand exec" -l ignore-paused -d 'Execute even if the container is paused'
complete -c minicon -n "__fish_minicon_using_subcommand exec" -s h -l help -d 'Print help'
complete -c minicon -n "__fish_minicon_using_subcommand pause" -s h -l help -d 'Print help'
complete -c minicon -n "__fish_minicon_using_subcommand resume" -s h -l help -d 'Print help'
complete -c minicon -n "__fish_minicon_using_subcommand update" -s r -l resources -d 'File with the resources as JSON, as in config.json, or - for stdin; all other flags are then ignored' -r
complete -c minicon -n "__fish_minicon_using_subcommand update" -l blkio-weight -d 'Weight of block I/O, from 10 to 1000' -r
complete -c minicon -n "__fish_minicon_using_subcommand update" -l cpu-period -d 'Period of the CPU quota, in microseconds' -r
complete -c minicon -n "__fish_minicon_using_subcommand update" -l cpu-quota -d 'CPU time in each period, in microseconds; -1 for no limit' -r
complete -c minicon -n "__fish_minicon_using_subcommand update" -l cpu-burst -d 'CPU time that may be saved up for a burst, in microseconds' -r
complete -c minicon -n "__fish_minicon_using_subcommand update" -l cpu-share -d 'CPU shares, relative to other containers' -r
complete -c minicon -n "__fish_minicon_using_subcommand update" -l cpu-rt-period -d 'Period of the realtime quota, in microseconds' -r
complete -c minicon -n "__fish_minicon_using_subcommand update" -l cpu-rt-runtime -d 'Realtime CPU time in each period, in microseconds' -r
complete -c minicon -n "__fish_minicon_using_subcommand update" -l cpu-idle -d '1 to run only when nothing else does (SCHED_IDLE), 0 not to' -r
complete -c minicon -n "__fish_minicon_using_subcommand update" -l cpuset-cpus -d 'Processors to run on, such as 0-2,7' -r
complete -c minicon -n "__fish_minicon_using_subcommand update" -l cpuset-mems -d 'Memory nodes to allocate from' -r
complete -c minicon -n "__fish_minicon_using_subcommand update" -l kernel-memory -d 'Obsolete and ignored' -r
complete -c minicon -n "__fish_minicon_using_subcommand update" -l kernel-memory-tcp -d 'Obsolete and ignored' -r
complete -c minicon -n "__fish_minicon_using_subcommand update" -l memory -d 'Limit of memory, such as 512m; -1 for none, of swap neither' -r
complete -c minicon -n "__fish_minicon_using_subcommand update" -l memory-reservation -d 'Memory that is kept when the host runs short' -r
complete -c minicon -n "__fish_minicon_using_subcommand update" -l memory-swap -d 'Limit of memory and swap together; -1 for no limit of swap' -r
complete -c minicon -n "__fish_minicon_using_subcommand update" -l pids-limit -d 'Limit of processes; -1 for none' -r
complete -c minicon -n "__fish_minicon_using_subcommand update" -l l3-cache-schema -d 'Schema of the level 3 cache, for Intel RDT' -r
complete -c minicon -n "__fish_minicon_using_subcommand update" -l mem-bw-schema -d 'Schema of memory bandwidth, for Intel RDT' -r
complete -c minicon -n "__fish_minicon_using_subcommand update" -s h -l help -d 'Print help'
complete -c minicon -n "__fish_minicon_using_subcommand list" -s f -l format -d 'table or json' -r
complete -c minicon -n "__fish_minicon_using_subcommand list" -s q -l quiet -d 'Only the names'
complete -c minicon -n "__fish_minicon_using_subcommand list" -s h -l help -d 'Print help'
complete -c minicon -n "__fish_minicon_using_subcommand state" -s h -l help -d 'Print help'
complete -c minicon -n "__fish_minicon_using_subcommand ps" -s f -l format -d 'table or json' -r
complete -c minicon -n "__fish_minicon_using_subcommand ps" -s h -l help -d 'Print help'
complete -c minicon -n "__fish_minicon_using_subcommand events" -l interval -d 'Time between two statistics, such as 500ms or 1m30s' -r
complete -c minicon -n "__fish_minicon_using_subcommand events" -l stats -d 'Print the statistics once'
complete -c minicon -n "__fish_minicon_using_subcommand events" -s h -l help -d 'Print help'
complete -c minicon -n "__fish_minicon_using_subcommand checkpoint" -l image-path -d 'Directory of the image files [default: ./checkpoint]' -r -F
complete -c minicon -n "__fish_minicon_using_subcommand checkpoint" -l work-path -d 'Directory of criu\'s logs and temporary files [default: that of the image files]' -r -F
complete -c minicon -n "__fish_minicon_using_subcommand checkpoint" -l manage-cgroups-mode -d 'What criu does about cgroups: soft, full, strict or ignore [default: soft]' -r
complete -c minicon -n "__fish_minicon_using_subcommand checkpoint" -l empty-ns -d 'Make a namespace but leave it empty: network, as it is always' -r
complete -c minicon -n "__fish_minicon_using_subcommand checkpoint" -l network-lock -d 'How the network is held meanwhile: iptables, nftables or skip' -r
complete -c minicon -n "__fish_minicon_using_subcommand checkpoint" -l parent-path -d 'Directory of the images of an earlier pre-dump, relative to the image path' -r -F
complete -c minicon -n "__fish_minicon_using_subcommand checkpoint" -l status-fd -d 'Descriptor that a NUL byte is written to when lazy pages can be fetched' -r
complete -c minicon -n "__fish_minicon_using_subcommand checkpoint" -l page-server -d 'Send memory to a criu page-server' -r
complete -c minicon -n "__fish_minicon_using_subcommand checkpoint" -l tcp-established -d 'Save and restore open TCP connections'
complete -c minicon -n "__fish_minicon_using_subcommand checkpoint" -l ext-unix-sk -d 'Save and restore one end of UNIX sockets whose other is outside'
complete -c minicon -n "__fish_minicon_using_subcommand checkpoint" -l shell-job -d 'Save and restore a program whose session or terminal is the caller\'s'
complete -c minicon -n "__fish_minicon_using_subcommand checkpoint" -l file-locks -d 'Save and restore file locks'
complete -c minicon -n "__fish_minicon_using_subcommand checkpoint" -l auto-dedup -d 'Leave out of older images what a newer one holds'
complete -c minicon -n "__fish_minicon_using_subcommand checkpoint" -l lazy-pages -d 'Fetch memory only when it is used, see userfaultfd(2)'
complete -c minicon -n "__fish_minicon_using_subcommand checkpoint" -l leave-running -d 'Leave the container running'
complete -c minicon -n "__fish_minicon_using_subcommand checkpoint" -l tcp-skip-in-flight -d 'Leave out TCP connections that are being made'
complete -c minicon -n "__fish_minicon_using_subcommand checkpoint" -l link-remap -d 'Give open files without a name one for the time being'
complete -c minicon -n "__fish_minicon_using_subcommand checkpoint" -l pre-dump -d 'Save memory only, and leave the container running'
complete -c minicon -n "__fish_minicon_using_subcommand checkpoint" -s h -l help -d 'Print help'
complete -c minicon -n "__fish_minicon_using_subcommand restore" -l image-path -d 'Directory of the image files [default: ./checkpoint]' -r -F
complete -c minicon -n "__fish_minicon_using_subcommand restore" -l work-path -d 'Directory of criu\'s logs and temporary files [default: that of the image files]' -r -F
complete -c minicon -n "__fish_minicon_using_subcommand restore" -l manage-cgroups-mode -d 'What criu does about cgroups: soft, full, strict or ignore [default: soft]' -r
complete -c minicon -n "__fish_minicon_using_subcommand restore" -l empty-ns -d 'Make a namespace but leave it empty: network, as it is always' -r
complete -c minicon -n "__fish_minicon_using_subcommand restore" -l network-lock -d 'How the network is held meanwhile: iptables, nftables or skip' -r
complete -c minicon -n "__fish_minicon_using_subcommand restore" -s b -l bundle -d 'Directory with config.json [default: the current directory]' -r -F
complete -c minicon -n "__fish_minicon_using_subcommand restore" -l console-socket -d 'AF_UNIX socket that receives the master of the container\'s terminal' -r -F
complete -c minicon -n "__fish_minicon_using_subcommand restore" -l pid-file -d 'File to write init\'s pid to' -r -F
complete -c minicon -n "__fish_minicon_using_subcommand restore" -l lsm-profile -d 'Label of a security module, as TYPE:NAME' -r
complete -c minicon -n "__fish_minicon_using_subcommand restore" -l lsm-mount-context -d 'SELinux context of the mounts' -r
complete -c minicon -n "__fish_minicon_using_subcommand restore" -l tcp-established -d 'Save and restore open TCP connections'
complete -c minicon -n "__fish_minicon_using_subcommand restore" -l ext-unix-sk -d 'Save and restore one end of UNIX sockets whose other is outside'
complete -c minicon -n "__fish_minicon_using_subcommand restore" -l shell-job -d 'Save and restore a program whose session or terminal is the caller\'s'
complete -c minicon -n "__fish_minicon_using_subcommand restore" -l file-locks -d 'Save and restore file locks'
complete -c minicon -n "__fish_minicon_using_subcommand restore" -l auto-dedup -d 'Leave out of older images what a newer one holds'
complete -c minicon -n "__fish_minicon_using_subcommand restore" -l lazy-pages -d 'Fetch memory only when it is used, see userfaultfd(2)'
complete -c minicon -n "__fish_minicon_using_subcommand restore" -s d -l detach -d 'Leave the container in the background'
complete -c minicon -n "__fish_minicon_using_subcommand restore" -l no-subreaper -d 'Do not become the reaper of the container\'s orphans'
complete -c minicon -n "__fish_minicon_using_subcommand restore" -l no-pivot -d 'Do not use pivot_root (for an initramfs)'
complete -c minicon -n "__fish_minicon_using_subcommand restore" -l tcp-close -d 'Restore TCP sockets closed'
complete -c minicon -n "__fish_minicon_using_subcommand restore" -s h -l help -d 'Print help'
complete -c minicon -n "__fish_minicon_using_subcommand explain" -s f -l format -d 'text, json or markdown' -r
complete -c minicon -n "__fish_minicon_using_subcommand explain" -l id -d 'Name that the container would have [default: that of the directory]' -r
complete -c minicon -n "__fish_minicon_using_subcommand explain" -l why -d 'Add to each step why it is needed, and what to read about it'
complete -c minicon -n "__fish_minicon_using_subcommand explain" -s h -l help -d 'Print help'
complete -c minicon -n "__fish_minicon_using_subcommand check" -s f -l format -d 'text or json' -r
complete -c minicon -n "__fish_minicon_using_subcommand check" -s h -l help -d 'Print help'
complete -c minicon -n "__fish_minicon_using_subcommand trace" -s h -l help -d 'Print help'
complete -c minicon -n "__fish_minicon_using_subcommand spec" -s b -l bundle -d 'Directory to write config.json into [default: the current directory]' -r -F
complete -c minicon -n "__fish_minicon_using_subcommand spec" -s f -l file -d 'File to write instead, over what is there' -r -F
complete -c minicon -n "__fish_minicon_using_subcommand spec" -l rootless -d 'For a user without privileges'
complete -c minicon -n "__fish_minicon_using_subcommand spec" -s h -l help -d 'Print help'
complete -c minicon -n "__fish_minicon_using_subcommand features" -s h -l help -d 'Print help'
complete -c minicon -n "__fish_minicon_using_subcommand help; and not __fish_seen_subcommand_from run create start kill delete exec pause resume update list state ps events checkpoint restore explain check trace spec features help" -f -a "run" -d 'Create and start a container, wait for it and delete it'
complete -c minicon -n "__fish_minicon_using_subcommand help; and not __fish_seen_subcommand_from run create start kill delete exec pause resume update list state ps events checkpoint restore explain check trace spec features help" -f -a "create" -d 'Make a container from a bundle; its program waits for start'
complete -c minicon -n "__fish_minicon_using_subcommand help; and not __fish_seen_subcommand_from run create start kill delete exec pause resume update list state ps events checkpoint restore explain check trace spec features help" -f -a "start" -d 'Start the program of a created container'
complete -c minicon -n "__fish_minicon_using_subcommand help; and not __fish_seen_subcommand_from run create start kill delete exec pause resume update list state ps events checkpoint restore explain check trace spec features help" -f -a "kill" -d 'Send a signal to a container\'s init'
complete -c minicon -n "__fish_minicon_using_subcommand help; and not __fish_seen_subcommand_from run create start kill delete exec pause resume update list state ps events checkpoint restore explain check trace spec features help" -f -a "delete" -d 'Remove a stopped container'
complete -c minicon -n "__fish_minicon_using_subcommand help; and not __fish_seen_subcommand_from run create start kill delete exec pause resume update list state ps events checkpoint restore explain check trace spec features help" -f -a "exec" -d 'Execute another program in a running container'
complete -c minicon -n "__fish_minicon_using_subcommand help; and not __fish_seen_subcommand_from run create start kill delete exec pause resume update list state ps events checkpoint restore explain check trace spec features help" -f -a "pause" -d 'Stop every process of a container where it stands'
complete -c minicon -n "__fish_minicon_using_subcommand help; and not __fish_seen_subcommand_from run create start kill delete exec pause resume update list state ps events checkpoint restore explain check trace spec features help" -f -a "resume" -d 'Let the processes of a paused container go on'
complete -c minicon -n "__fish_minicon_using_subcommand help; and not __fish_seen_subcommand_from run create start kill delete exec pause resume update list state ps events checkpoint restore explain check trace spec features help" -f -a "update" -d 'Change the limits of a container'
complete -c minicon -n "__fish_minicon_using_subcommand help; and not __fish_seen_subcommand_from run create start kill delete exec pause resume update list state ps events checkpoint restore explain check trace spec features help" -f -a "list" -d 'List the containers'
complete -c minicon -n "__fish_minicon_using_subcommand help; and not __fish_seen_subcommand_from run create start kill delete exec pause resume update list state ps events checkpoint restore explain check trace spec features help" -f -a "state" -d 'Print the state of a container as JSON'
complete -c minicon -n "__fish_minicon_using_subcommand help; and not __fish_seen_subcommand_from run create start kill delete exec pause resume update list state ps events checkpoint restore explain check trace spec features help" -f -a "ps" -d 'Show the processes of a container'
complete -c minicon -n "__fish_minicon_using_subcommand help; and not __fish_seen_subcommand_from run create start kill delete exec pause resume update list state ps events checkpoint restore explain check trace spec features help" -f -a "events" -d 'Print statistics and out-of-memory events of a container'
complete -c minicon -n "__fish_minicon_using_subcommand help; and not __fish_seen_subcommand_from run create start kill delete exec pause resume update list state ps events checkpoint restore explain check trace spec features help" -f -a "checkpoint" -d 'Save a running container into files, with criu'
complete -c minicon -n "__fish_minicon_using_subcommand help; and not __fish_seen_subcommand_from run create start kill delete exec pause resume update list state ps events checkpoint restore explain check trace spec features help" -f -a "restore" -d 'Make a container again from saved files, with criu'
complete -c minicon -n "__fish_minicon_using_subcommand help; and not __fish_seen_subcommand_from run create start kill delete exec pause resume update list state ps events checkpoint restore explain check trace spec features help" -f -a "explain" -d 'Print, step by step, what create and start will do; does nothing'
complete -c minicon -n "__fish_minicon_using_subcommand help; and not __fish_seen_subcommand_from run create start kill delete exec pause resume update list state ps events checkpoint restore explain check trace spec features help" -f -a "check" -d 'Tell what would fail on this machine, and the remedy; does nothing'
complete -c minicon -n "__fish_minicon_using_subcommand help; and not __fish_seen_subcommand_from run create start kill delete exec pause resume update list state ps events checkpoint restore explain check trace spec features help" -f -a "trace" -d 'Draw what --trace has recorded'
complete -c minicon -n "__fish_minicon_using_subcommand help; and not __fish_seen_subcommand_from run create start kill delete exec pause resume update list state ps events checkpoint restore explain check trace spec features help" -f -a "spec" -d 'Write a config.json to start from'
complete -c minicon -n "__fish_minicon_using_subcommand help; and not __fish_seen_subcommand_from run create start kill delete exec pause resume update list state ps events checkpoint restore explain check trace spec features help" -f -a "features" -d 'Print what this runtime supports as JSON'
complete -c minicon -n "__fish_minicon_using_subcommand help; and not __fish_seen_subcommand_from run create start kill delete exec pause resume update list state ps events checkpoint restore explain check trace spec features help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
