# Judges what references.awk printed of all profiles; `tests` is how many there must be. Each is of 1000 rounds.

BEGIN { print "round of            instructions  retains  releases  objects  exclusivity checks" }

{
    printf "%-22s %9.0f %8g %9g %8g %19g\n", $1, $2 / 1000, $3 / 1000, $4 / 1000, $5 / 1000, $6 / 1000
    counted = $3 > 0 && $4 > 0 && $5 > 0 && $6 > 0
    if ($1 == "control-library") {
        controls += counted
    } else if ($3 + $4 + $5 + $6 > 0) {
        print "FAILED: " $1 " must not count references nor check accesses"
        failed++
    }
}

END {
    if (controls != 1) { print "FAILED: the control does not count"; failed++ }
    if (tests == 0 || NR != tests) { print "FAILED: " NR " profiles of " tests " tests"; failed++ }
    print NR - failed " passed, " failed + 0 " failed"
    exit failed > 0
}
