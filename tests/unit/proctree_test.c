/* SPDX-License-Identifier: MIT */
/*
 * Descendants are found and ended, spared ones are not.
 * LINK: src/proctree.o
 */
#include "proctree.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <sys/prctl.h>
#include <sys/wait.h>

#include "../lib/tap.h"

/** family - a child with @depth generations below it, each in a session of its own; deaf to SIGTERM
 */
static pid_t family(int depth, int ready)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	setsid();
	signal(SIGTERM, SIG_IGN);
	prctl(PR_SET_NAME, "a) b (c"); /* as awkward as a name can be in /proc/PID/stat */
	if (depth)
		family(depth - 1, ready);
	else if (write(ready, "", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

int main(void)
{
	struct proctree_pids spare = {0}, l = {0};
	pid_t kept, deep;
	int ready[2];
	char c;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (pipe(ready))
		return 1;
	kept = family(0, ready[1]);
	deep = family(4, ready[1]);
	for (int i = 0; i < 2; i++) {
		if (read(ready[0], &c, 1) != 1)
			return 1;
	}
	tap_is(proctree_count(getpid()), 6, "all generations are counted");
	tap_is(proctree_children(getpid(), &l), 0, "children can be read");
	tap_ok(l.n == 2 && proctree_pids_has(&l, kept) && proctree_pids_has(&l, deep),
	       "exactly the direct ones");
	tap_ok(proctree_is_descendant(deep, getpid()), "a child is a descendant");
	tap_ok(!proctree_is_descendant(getppid(), getpid()), "a parent is not");
	tap_ok(!proctree_is_descendant(0, getpid()), "nobody is not");
	proctree_pids_add(&spare, kept);
	proctree_end_children(&spare);
	tap_is(proctree_count(getpid()), 1, "all are ended but the spared one");
	tap_is(kill(kept, 0), 0, "which lives");
	tap_is(waitpid(-1, NULL, WNOHANG), 0, "and nobody is left to reap");
	proctree_end_children(NULL);
	tap_ok(waitpid(-1, NULL, WNOHANG) < 0, "without exception nobody is left");
	proctree_pids_free(&spare);
	proctree_pids_free(&l);
	return tap_done();
}
