/* SPDX-License-Identifier: MIT */
/* check: `weir check`: are the rules of a file right, and what do they say of a flow? */
#ifndef WEIR_CHECK_H
#define WEIR_CHECK_H

/** check_run - the command's words, argv[0] being "check"; 0, or 2: wrong usage or wrong rules */
int check_run(int argc, char **argv);

#endif
