# shellcheck shell=sh
# The verbs of kvmctl by the tabulator key. What there is to complete is asked when it is wanted for the first time.
if [ -n "${BASH_VERSION:-}" ]; then
    _kvmctl_first() {
        # 124: try again, with what is bound now. Not when nothing came: bash would try for ever.
        _kvmctl_script=$(kvmctl completions bash 2>/dev/null) || return 1
        [ -n "$_kvmctl_script" ] || return 1
        eval "$_kvmctl_script"
        unset _kvmctl_script
        return 124
    }
    # shellcheck disable=SC3044 # bash's
    complete -F _kvmctl_first kvmctl
fi
