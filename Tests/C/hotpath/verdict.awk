# Judges what references.awk printed of all profiles; `tests` is how many there must be, `comparisons` how many of their
# costs must be compared. Each is of 1000 rounds.

BEGIN { print "round of            instructions  retains  releases  objects  exclusivity checks" }

function complain(what) { print "FAILED: " what; failed++ }

# That something costs, in instructions, no more than so many times what another does.
function compare(name, other, factor) {
    if (!(name in cost) || !(other in cost)) complain("no " name " or no " other)
    else if (cost[name] > factor * cost[other]) complain(name " must cost no more than " factor " times " other)
    compared++
}

{
    printf "%-22s %9.0f %8g %9g %8g %19g\n", $1, $2 / 1000, $3 / 1000, $4 / 1000, $5 / 1000, $6 / 1000
    cost[$1] = $2
    counted = $3 > 0 && $4 > 0 && $5 > 0 && $6 > 0
    if ($1 ~ /^control-/) controls += counted
    # Mappings that come and go are objects.
    else if ($1 !~ /^table-/ && $3 + $4 + $5 + $6 > 0) complain($1 " must not count references nor check accesses")
}

END {
    if (controls != 1) complain("the control does not count")
    if (tests == 0 || NR != tests) complain(NR " profiles of " tests " tests")
    for (name in cost) {
        if (name ~ /-in-ioas$/) compare(name, substr(name, 1, length(name) - length("-in-ioas")), 1.02)
        if (name ~ /-full$/) compare(name, substr(name, 1, length(name) - length("full")) "empty", 2)
    }
    if (compared + 0 < comparisons) complain("only " compared + 0 " comparisons")
    print NR + compared - failed " passed, " failed + 0 " failed"
    exit failed > 0
}
