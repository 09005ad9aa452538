/* How the layout tests say what they expect. */
#ifndef LAYOUTS_H
#define LAYOUTS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Added to what is expected: with anything but 0 every check must fail, which shows that it can. */
#ifndef LAYOUTS_OFF_BY
#define LAYOUTS_OFF_BY 0
#endif
#ifndef LAYOUTS_BITS_OFF_BY
#define LAYOUTS_BITS_OFF_BY 0
#endif

#ifdef __cplusplus
#define HOLDS(condition, text) static_assert(condition, text)
#define ALIGNMENT(type) alignof(type)
#else
#define HOLDS(condition, text) _Static_assert(condition, text)
#define ALIGNMENT(type) _Alignof(type)
#endif

/* A constant. */
#define VALUE(name, value) HOLDS((long long)(name) == (value) + LAYOUTS_OFF_BY, #name)

/* Size and alignment of a type. */
#define TYPE(type, size, alignment) \
    HOLDS(sizeof(type) == (size) + LAYOUTS_OFF_BY, "size of " #type); \
    HOLDS(ALIGNMENT(type) == (alignment) + LAYOUTS_OFF_BY, "alignment of " #type)

/* A member that is not a bit-field. */
#define FIELD(type, member, offset, size) \
    HOLDS(offsetof(type, member) == (offset) + LAYOUTS_OFF_BY, "offset of " #type "." #member); \
    HOLDS(sizeof(((type *)0)->member) == (size) + LAYOUTS_OFF_BY, "size of " #type "." #member)

/* A flexible array: where it begins and how large an element is. */
#define FLEXIBLE(type, member, offset, size) \
    HOLDS(offsetof(type, member) == (offset) + LAYOUTS_OFF_BY, "offset of " #type "." #member); \
    HOLDS(sizeof(((type *)0)->member[0]) == (size), "element of " #type "." #member)

/* Bit-fields have no offset to ask for: counting down from 0 makes one all ones; see which bits change. */
#define BITS(type, member, position, width) \
    do { \
        type value; \
        uint64_t found = 0; \
        memset(&value, 0, sizeof(value)); \
        value.member--; \
        memcpy(&found, &value, sizeof(value) < sizeof(found) ? sizeof(value) : sizeof(found)); \
        layouts_bits(#type "." #member, found, \
                     (((uint64_t)1 << (width)) - 1) << ((position) + LAYOUTS_BITS_OFF_BY)); \
    } while (0)

extern int layouts_checked;
extern int layouts_failed;

static inline void
layouts_bits(const char *name, uint64_t found, uint64_t expected)
{
    layouts_checked++;
    if (found != expected) {
        layouts_failed++;
        printf("%s: bits %#llx, expected %#llx\n", name, (unsigned long long)found,
               (unsigned long long)expected);
    }
}

void
layouts_pci(void);

#endif /* LAYOUTS_H */
