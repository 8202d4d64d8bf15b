#!/bin/sh
# Compile a model, hold it against its baseline, and say what differs from the main branch.
#
#   check.sh MODEL DATA BASELINE [TARGET]
#
# Writes ci/out (the bundle), ci/check.xml (JUnit) and ci/diff.md (Markdown for the pull request). MAIN, where it is
# set, is the bundle of the main branch. Exit status: that of ssmc check, 4 where a figure moved too far.
set -u
model=$1 data=$2 baseline=$3 target=${4:-int}
mkdir -p ci
ssmc compile "$model" --target "$target" -o ci/out > ci/compile.log || exit $?
status=0
ssmc check ci/out --data "$data" --baseline "$baseline" --junit ci/check.xml > ci/check.log || status=$?
{
  echo "### \`$model\` for \`$target\`"
  echo
  if [ "$status" -eq 0 ]; then echo "All figures are within the tolerances of \`$baseline\`."; else echo '```'; cat ci/check.log; echo '```'; fi
} > ci/diff.md
if [ -n "${MAIN:-}" ]; then
  echo >> ci/diff.md
  ssmc diff "$MAIN" ci/out --markdown >> ci/diff.md || exit $?
fi
cat ci/diff.md
exit "$status"
