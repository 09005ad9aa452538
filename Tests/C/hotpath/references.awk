# Reads a profile of callgrind; prints its name, the instructions it holds, and how often functions that count references
# or make objects were called: retains, releases, objects, checks of exclusive access.
#
# profile=NAME names a profile that was not written at the program's request.

# A function's name is written out the first time, and then its number stands for it.
function number(line) {
    match(line, /\([0-9]+\)/)
    id = substr(line, RSTART + 1, RLENGTH - 2)
    if (RSTART + RLENGTH < length(line)) name[id] = substr(line, RSTART + RLENGTH + 1)
    return id
}

/^desc: Trigger: Client Request: / { profile = $NF }
/^fn=/ { number($0) }
/^cfn=/ { callee = number($0) }
/^calls=/ { calls[callee] += substr($1, 7) }
/^summary:/ { instructions = $2 }

END {
    for (id in calls) {
        if (name[id] ~ /^_?swift_(retain|bridgeObjectRetain|unknownObjectRetain|weak|unowned)/) retains += calls[id]
        else if (name[id] ~ /^_?swift_(release|bridgeObjectRelease|unknownObjectRelease)/) releases += calls[id]
        else if (name[id] ~ /^_?swift_(alloc|slowAlloc|initStackObject)/) objects += calls[id]
        else if (name[id] ~ /^_?swift_beginAccess/) checks += calls[id]
    }
    print profile, instructions, retains + 0, releases + 0, objects + 0, checks + 0
}
