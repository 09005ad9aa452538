#ifndef LIB_VFIO_USER_H
#define LIB_VFIO_USER_H
#include <stdint.h>
#endif
