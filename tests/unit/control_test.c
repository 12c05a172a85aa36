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
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "../lib/tap.h"

static uint32_t later;

static enum control_said answer(void *ctx, const struct control_peer *who, const char *request,
				FILE *out)
{
	(void)ctx;
	if (!strcmp(request, "events"))
		return CONTROL_STREAM;
	if (!strcmp(request, "later")) {
		later = who->client;
		return CONTROL_LATER;
	}
	if (!strcmp(request, "who")) {
		fprintf(out, "%u %s\n", (unsigned)who->uid, who->full ? "full" : "own");
		return CONTROL_ANSWERED;
	}
	if (!strcmp(request, "big")) {
		for (int i = 0; i < 300000; i++)
			fprintf(out, "%d\n", i);
		return CONTROL_ANSWERED;
	}
	fprintf(out, "you said: %s\n", request);
	return CONTROL_ANSWERED;
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

/** stopped - one that is stopped holds up neither later starts nor who looks for it */
static void stopped(pid_t pid)
{
	char err[256], *text;
	pid_t p = 0;

	kill(pid, SIGSTOP);
	alarm(20);
	for (int i = 0; i < 40; i++) {
		p = instance();
		end(p);
	}
	tap_ok(ask(0, "x", &text, err) < 0 && strstr(err, "may be stopped"), "stopped: %s", err);
	free(text);
	alarm(0);
	kill(pid, SIGCONT);
	p = instance(); /* sweeps */
	end(p);
}

/** silent - who connects and says nothing does not keep others out */
static void silent(pid_t pid)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	char path[CONTROL_PATH_MAX], err[256], *text;
	int fd[40];

	control_path(pid, getuid(), path);
	memcpy(sa.sun_path, path, sizeof(sa.sun_path));
	for (int i = 0; i < 40; i++) {
		fd[i] = socket(AF_UNIX, SOCK_STREAM, 0);
		connect(fd[i], (struct sockaddr *)&sa, sizeof(sa));
	}
	tap_ok(ask(pid, "z", &text, err) > 0 && !strcmp(text, "you said: z\n"),
	       "forty silent clients leave room for one that asks");
	free(text);
	for (int i = 0; i < 40; i++)
		close(fd[i]);
}

/** turns - how often a poll loop over @c turns in @ms, as the supervisor's does */
static int turns(struct control *c, int ms)
{
	const uint64_t end = clock_mono_ns() + (uint64_t)ms * NSEC_PER_MSEC;
	struct pollfd fds[CONTROL_FDS_MAX];
	uint64_t now, at;
	int n = 0;

	for (; (now = clock_mono_ns()) < end; n++) {
		int have = control_pollfds(c, fds);

		at = control_retry_at(c);
		at = at && at < end ? at : end;
		poll(fds, (nfds_t)have, at > now ? (int)((at - now) / NSEC_PER_MSEC) + 1 : 0);
		control_serve(c, fds, have, answer, NULL);
	}
	return n;
}

/** shared - everybody may ask a host's instance, and it knows who does */
static void shared(void)
{
	char path[] = "/tmp/weir-control-XXXXXX", err[256], *text = NULL;
	struct pollfd fds[CONTROL_FDS_MAX];
	size_t size;
	struct control *c = NULL;
	struct stat st;
	pid_t pid;
	int out[2], n = 0;
	char got[32] = "";

	close(mkstemp(path));
	tap_ok(control_open_shared(path, (gid_t)-1, &c) == 0 && !stat(path, &st) &&
		       (st.st_mode & 0777) == 0666,
	       "a shared socket is open to all, in the place of what was there");
	if (pipe(out) < 0 || (pid = fork()) < 0)
		exit(1);
	if (!pid) {
		FILE *f = open_memstream(&text, &size);

		if (getuid() == 0 && (setgid(12345) || setuid(12345)))
			_exit(1);
		control_ask_at(path, "who", f, err, sizeof(err));
		fclose(f);
		_exit(write(out[1], text, size) < 0);
	}
	close(out[1]);
	while (c && waitpid(pid, NULL, WNOHANG) == 0) {
		n = control_pollfds(c, fds);
		poll(fds, (nfds_t)n, 20);
		control_serve(c, fds, n, answer, NULL);
	}
	if (read(out[0], got, sizeof(got) - 1) < 0)
		got[0] = '\0';
	close(out[0]);
	snprintf(err, sizeof(err), "%u own\n", getuid() ? (unsigned)getuid() : 12345U);
	tap_ok(!strcmp(got, err), "another user is known as such: %s", got);
	control_close(c);
	tap_ok(stat(path, &st) < 0, "it goes with its instance");
}

/** starved - a client that cannot be accepted does not make the loop spin, and is served later */
static void starved(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), next = dup(fd), n;
	char path[CONTROL_PATH_MAX], text[64] = "";
	struct rlimit old, low;
	struct control *c;

	close(next);
	getrlimit(RLIMIT_NOFILE, &old);
	low = (struct rlimit){.rlim_cur = (rlim_t)next + 1, .rlim_max = old.rlim_max};
	if (control_open(&c) < 0)
		exit(1);
	control_path(getpid(), getuid(), path);
	memcpy(sa.sun_path, path, sizeof(sa.sun_path));
	tap_is(control_retry_at(c), 0, "nothing is to be tried again");
	setrlimit(RLIMIT_NOFILE, &low); /* the listener has the last one */
	connect(fd, (struct sockaddr *)&sa, sizeof(sa));
	n = (int)write(fd, "late\n", 5);
	n = turns(c, 500);
	tap_ok(n >= 2 && n <= 8, "without descriptors: %d turns in half a second", n);
	setrlimit(RLIMIT_NOFILE, &old);
	turns(c, 500);
	n = (int)recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
	tap_ok(n > 0 && !strcmp(text, "you said: late\n"), "... and served when there are some");
	tap_is(control_retry_at(c), 0, "... after which all is as before");
	close(fd);
	control_close(c);
}

/** starting - between bind() and listen() a socket looks dead, but its process lives */
static void starting(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char path[CONTROL_PATH_MAX];
	struct stat st;
	pid_t p;

	control_path(getpid(), getuid(), path);
	memcpy(sa.sun_path, path, sizeof(sa.sun_path));
	tap_is(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0, "bound, not listening");
	p = instance();
	tap_is(stat(path, &st), 0, "... is not swept while its process lives");
	end(p);
	close(fd);
	unlink(path);
}

static int ask_raw(struct control *c, const char *request)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	char path[CONTROL_PATH_MAX];

	control_path(getpid(), getuid(), path);
	memcpy(sa.sun_path, path, sizeof(sa.sun_path));
	connect(fd, (struct sockaddr *)&sa, sizeof(sa));
	if (write(fd, request, strlen(request)) < 0)
		close(fd);
	turns(c, 50);
	return fd;
}

/** count_lines - read what has come: how many are @line, and how many are said to be lost */
static void count_lines(struct control *c, int fd, const char *line, unsigned *got, unsigned *lost)
{
	static char buf[1 << 20];
	size_t have = 0;
	ssize_t n;
	char *end;

	do {
		turns(c, 1);
		n = read(fd, buf + have, sizeof(buf) - 1 - have);
		have += n > 0 ? (size_t)n : 0;
		buf[have] = '\0';
		while ((end = strchr(buf, '\n'))) {
			unsigned k = 0;

			*end = '\0';
			*got += !strcmp(buf, line);
			if (sscanf(buf, "{\"event_type\":\"lost\",\"lines\":%u}", &k) == 1)
				*lost += k;
			have -= (size_t)(end + 1 - buf);
			memmove(buf, end + 1, have + 1);
		}
	} while (n > 0);
}

/** streams - lines without an end, to who reads them and to who does not */
static void streams(void)
{
	unsigned got = 0, lost = 0;
	char line[1001], text[64] = "";
	struct control *c;
	int fd, other;

	if (control_open(&c) < 0)
		exit(1);
	tap_ok(!control_streams(c), "nobody listens");
	fd = ask_raw(c, "events\n");
	tap_ok(control_streams(c), "a stream");
	control_publish(c, getuid(), "one");
	count_lines(c, fd, "one", &got, &lost);
	tap_ok(got == 1 && !lost, "a line comes");
	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	for (int i = 0; i < 5000; i++)
		control_publish(c, getuid(), line);
	got = 0;
	count_lines(c, fd, line, &got, &lost);
	tap_ok(got > 500 && got < 4000 && !lost, "who does not read gets %u of 5000", got);
	control_publish(c, getuid(), line);
	count_lines(c, fd, line, &got, &lost);
	tap_ok(got + lost == 5001, "... and is told how many are lost: %u and %u", got, lost);
	close(fd);
	turns(c, 50);
	tap_ok(!control_streams(c), "who goes away is forgotten");

	fd = ask_raw(c, "later\n");
	other = ask_raw(c, "x\n");
	tap_ok(read(fd, text, sizeof(text)) < 0, "an answer may come later");
	tap_ok(read(other, text, sizeof(text)) > 0, "... than those to others");
	control_finish(c, later + 1, "not this\n");
	control_finish(c, later, "at last\n");
	tap_ok(read(fd, text, sizeof(text)) == 8 && !strncmp(text, "at last\n", 8),
	       "... and it does");
	close(fd);
	close(other);
	control_close(c);
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
	silent(a);
	stopped(a);
	starting();
	starved();
	streams();
	shared();
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
	setenv("XDG_RUNTIME_DIR", "/nonexistent", 1);
	control_path(1, getuid(), path);
	tap_ok(!strncmp(path, "/tmp/", 5), "a runtime directory that is not there: %s", path);
	setenv("XDG_RUNTIME_DIR", dir, 1);
	control_path(b, getuid(), path);
	control_remove(path);
	tap_ok(ask(b, "x", &text, err) < 0, "no such process: %s", err);
	free(text);
	tap_ok(rmdir(dir) == 0, "nothing is left");
	return tap_done();
}
