# Sums the results of several test programs, and repeats what was skipped, and why, before the counts.
/^test result: / {
	for (i = 2; i <= NF; i++) {
		if ($i == "passed;") passed += $(i - 1)
		if ($i == "failed;") failed += $(i - 1)
		if ($i == "ignored;") ignored += $(i - 1)
	}
}
# With one thread the harness has the name of the test on the same line.
/(^|\.\.\. )skipped: / { skipped++; sub(/^.*skipped: /, "skipped: "); print }
# What the engines' tests skip is among the ignored already.
/ \.\.\. ignored, / { line = $0; sub(/^test /, "skipped: ", line); sub(/ \.\.\. ignored, /, ": ", line); print line }
END {
	printf "%d passed, %d failed, %d skipped\n", passed - skipped, failed, ignored + skipped
}
