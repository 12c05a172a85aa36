/* SPDX-License-Identifier: MIT */
/*
 * Asking a running instance: found by itself when it is alone, named when not,
 * closed to others, swept when dead.
 *
 * LINK: src/control.o src/base/util.o src/base/log.o src/base/clock.o
 */
#include "control.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/tap.h"

static void answer(void *ctx, const char *request, FILE *out)
{
	(void)ctx;
	if (!strcmp(request, "big")) {
		for (int i = 0; i < 300000; i++)
			fprintf(out, "%d\n", i);
		return;
	}
	fprintf(out, "you said: %s\n", request);
}

/** instance - a process that serves until it is killed; returns when it listens */
static pid_t instance(void)
{
	int ready[2];
	char byte;
	pid_t pid;

	if (pipe(ready) < 0 || (pid = fork()) < 0)
		exit(1);
	if (pid) {
		close(ready[1]);
		if (read(ready[0], &byte, 1) != 1)
			tap_ok(false, "instance could not listen");
		close(ready[0]);
		return pid;
	}
	struct control *c;
	struct pollfd fds[CONTROL_FDS_MAX];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (control_open(&c) < 0 || write(ready[1], "x", 1) != 1)
		_exit(1);
	for (;;) {
		int n = control_pollfds(c, fds);

		poll(fds, (nfds_t)n, -1);
		control_serve(c, fds, n, answer, NULL);
	}
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/** ask - the answer's size, or the error; text in *@text */
static long ask(pid_t pid, const char *request, char **text, char *err)
{
	size_t size = 0;
	FILE *f = open_memstream(text, &size);
	int rc = control_ask(pid, request, f, err, 256);

	fclose(f);
	return rc ? rc : (long)size;
}

int main(void)
{
	char dir[] = "/tmp/weir-control-XXXXXX", path[CONTROL_PATH_MAX], err[256], *text;
	struct stat st;
	pid_t a, b;

	if (!mkdtemp(dir))
		return 1;
	setenv("XDG_RUNTIME_DIR", dir, 1);
	tap_ok(ask(0, "x", &text, err) < 0 && strstr(err, "no instance"), "none: %s", err);
	free(text);
	a = instance();
	control_path(a, getuid(), path);
	tap_ok(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600, "the socket is mode 0600");
	tap_ok(ask(0, "hello", &text, err) > 0 && !strcmp(text, "you said: hello\n"),
	       "the only one is found");
	free(text);
	tap_is(ask(a, "big", &text, err), 1988890, "a long answer is whole");
	free(text);
	b = instance();
	tap_ok(ask(0, "x", &text, err) < 0 && strstr(err, "--instance"), "two: %s", err);
	free(text);
	tap_ok(ask(b, "y", &text, err) > 0 && !strcmp(text, "you said: y\n"), "one is named");
	free(text);
	end(a);
	tap_ok(stat(path, &st) == 0, "a killed one leaves its socket");
	end(b);
	b = instance();
	tap_ok(stat(path, &st) < 0, "a later start sweeps it");
	end(b);
	control_path(b, getuid(), path);
	control_remove(path);
	tap_ok(ask(b, "x", &text, err) < 0, "no such process: %s", err);
	free(text);
	tap_ok(rmdir(dir) == 0, "nothing is left");
	return tap_done();
}
