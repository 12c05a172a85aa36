/* SPDX-License-Identifier: MIT */
#include "ruleset.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "policy_host.h"

#define GOOD	      "+" /* what the child says when the memfd is complete */
#define WARNINGS_SAID 10

/* --- the child --------------------------------------------------------------------------- */

static void tell(int fd, const char *text)
{
	size_t done = 0, len = strlen(text);
	ssize_t n;

	while (done < len && (n = write(fd, text + done, len - done)) > 0)
		done += (size_t)n;
}

static _Noreturn void compile(const char *path, int pipe_fd, int mem_fd)
{
	char err[RULESET_ERR] = "";
	struct policy *p = NULL;
	int rc = policy_load(policy_host(), path, &p, err, sizeof(err));

	if (!rc) {
		rc = policy_pack(p, mem_fd);
		if (rc)
			snprintf(err, sizeof(err), "%s: can't be packed: %s", path, strerror(-rc));
	} else if (!err[0]) {
		snprintf(err, sizeof(err), "%s: %s", path, strerror(-rc));
	}
	tell(pipe_fd, rc ? err : GOOD);
	_exit(rc != 0);
}

/* --- the supervisor -------------------------------------------------------------------------- */

int ruleset_load_start(struct ruleset_load *l, const char *path)
{
	int p[2];

	*l = (struct ruleset_load){.pipe_fd = -1, .mem_fd = -1};
	l->mem_fd = memfd_create("weir-rules", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (l->mem_fd < 0 || pipe2(p, O_CLOEXEC | O_NONBLOCK) < 0) {
		int rc = -errno;

		close_fd(&l->mem_fd);
		return rc;
	}
	l->pipe_fd = p[0];
	l->pid = fork();
	if (l->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fcntl(p[1], F_SETFL, 0);
		compile(path, p[1], l->mem_fd);
	}
	close(p[1]);
	if (l->pid < 0) {
		int rc = -errno;

		l->pid = 0;
		ruleset_load_cancel(l);
		return rc;
	}
	return 0;
}

void ruleset_load_cancel(struct ruleset_load *l)
{
	if (l->pipe_fd >= 0 && l->pid > 0) /* no other process is meant */
		kill(l->pid, SIGKILL);
	policy_free(l->p);
	l->p = NULL;
	close_fd(&l->pipe_fd);
	close_fd(&l->mem_fd);
}

void ruleset_free(struct ruleset_use *u)
{
	close_fd(&u->fd);
	policy_free(u->now);
	policy_free(u->before);
	*u = (struct ruleset_use){.fd = -1};
}

static void warn(void *ctx, const char *text)
{
	unsigned *n = ctx;

	if ((*n)++ < WARNINGS_SAID)
		log_warn("%s", text);
}

/** say_warnings - of rules that are not wrong but can't be meant */
static void say_warnings(const struct policy *p)
{
	unsigned n = 0;

	policy_warnings(p, warn, &n);
	if (n > WARNINGS_SAID)
		log_warn("%u more warnings: see weir check", n - WARNINGS_SAID);
}

bool ruleset_adopt(struct ruleset_load *l, struct ruleset_use *u)
{
	if (!l->p)
		return false;
	close_fd(&u->fd);
	u->fd = l->mem_fd;
	l->mem_fd = -1;
	policy_free(u->before);
	u->before = u->now;
	u->now = l->p;
	l->p = NULL;
	u->number++;
	say_warnings(u->now);
	return true;
}

/** take - the child's memfd, which nobody can change any more (policy_unpack() looks) */
static int take(struct ruleset_load *l)
{
	int rc = policy_unpack(l->mem_fd, &l->p, l->text, sizeof(l->text));

	if (rc && !strcmp(l->text, GOOD))
		snprintf(l->text, sizeof(l->text), "the rules can't be used: %s", strerror(-rc));
	return rc;
}

int ruleset_load_read(struct ruleset_load *l)
{
	ssize_t n;
	int rc;

	while ((n = read(l->pipe_fd, l->text + l->len, sizeof(l->text) - 1 - l->len)) > 0)
		l->len += (size_t)n;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return -EAGAIN;
	l->text[l->len] = '\0';
	close_fd(&l->pipe_fd);
	if (!l->len)
		snprintf(l->text, sizeof(l->text), "the process that reads the rules was ended");
	rc = !strcmp(l->text, GOOD) ? take(l) : -EINVAL;
	if (rc)
		ruleset_load_cancel(l);
	return rc;
}

int ruleset_load_now(const char *path, struct ruleset_use *u, char *err, size_t errsize)
{
	struct ruleset_load l;
	int rc = ruleset_load_start(&l, path);
	pid_t pid = l.pid;

	if (rc) {
		snprintf(err, errsize, "%s: %s", path, strerror(-rc));
		return rc;
	}
	do {
		struct pollfd p = {.fd = l.pipe_fd, .events = POLLIN};

		poll(&p, 1, -1);
		rc = ruleset_load_read(&l);
	} while (rc == -EAGAIN);
	waitpid(pid, NULL, 0);
	if (rc)
		str_copy(err, errsize, l.text);
	else
		ruleset_adopt(&l, u);
	return rc;
}

const struct policy *ruleset_of(const struct ruleset_use *u, uint32_t number)
{
	if (number && number == u->number)
		return u->now;
	return number && number + 1 == u->number ? u->before : NULL;
}
