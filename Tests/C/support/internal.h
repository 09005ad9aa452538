/* Between the files of the support library only. */
#ifndef VFU_TEST_INTERNAL_H
#define VFU_TEST_INTERNAL_H

void end_all_sessions(void);

#endif
