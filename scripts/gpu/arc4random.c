/* For programs that are linked with the C++ runtime of a newer system than they will run on: that runtime takes its random
 * numbers from arc4random, which glibc has since 2.36. The program brings its own, over a call that glibc has since 2.25. */
#include <stdlib.h>
#include <sys/random.h>

unsigned int arc4random(void) {
  unsigned int value = 0;
  if (getrandom(&value, sizeof value, 0) != (ssize_t)sizeof value) abort();
  return value;
}
