/* SPDX-License-Identifier: MIT */
/*
 * down: `weir down`.
 *
 * Who can take the journal's lock may undo what stands in it. While somebody else has it, that
 * is a supervisor, which undoes everything itself when it is asked to end, or the watcher of one
 * that was killed, which is at work and soon done.
 */
#include "down.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sys/syscall.h>

#include "journal.h"
#include "netns.h"
#include "runlock.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"

#define WAIT_NS (20 * NSEC_PER_SEC) /* for a supervisor to end its workers and undo */
#define LOOK_MS 50

struct down {
	char path[256], lock_path[264];
	pid_t asked; /* the supervisor that was sent SIGTERM, 0 = none yet */
	uint64_t until;
	unsigned undone;
	bool after_crash;
};

static bool somebody_is_up(const struct down *d)
{
	pid_t pid = 0;
	int pidfd = runlock_holder(d->lock_path, &pid);
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	const bool alive = pidfd >= 0 && poll(&p, 1, 0) == 0;

	close_fd(&pidfd);
	return alive;
}

/** ask - SIGTERM to the supervisor, once; then some time for it. -ETIMEDOUT: it had enough */
static int ask(struct down *d)
{
	pid_t pid = 0;
	int pidfd = runlock_holder(d->lock_path, &pid);
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	if (pidfd >= 0 && pid != d->asked && !d->after_crash) {
		if (syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0) && errno != ESRCH) {
			int rc = -errno;

			log_error("weir up (pid %d) can't be asked to end: %s", (int)pid,
				  strerror(-rc));
			close(pidfd);
			return rc;
		}
		d->asked = pid;
		log_note("weir up (pid %d) is asked to end", (int)pid);
	}
	if (clock_mono_ns() >= d->until) {
		log_error("%s is still in use after %d s%s", d->path, (int)(WAIT_NS / NSEC_PER_SEC),
			  pidfd >= 0 ? ": the supervisor does not end" : "");
		close_fd(&pidfd);
		return -ETIMEDOUT;
	}
	poll(&p, 1, LOOK_MS);
	if (p.revents) /* it has ended: its watcher is a moment behind */
		poll(NULL, 0, 1);
	close_fd(&pidfd);
	return 0;
}

static void say_step(void *ctx, const char *line)
{
	struct down *d = ctx;

	d->undone++;
	puts(line);
}

static int undo(struct down *d, struct journal *j)
{
	struct rtnl *nl = NULL;
	struct nft *nft = NULL;
	int rc = rtnl_open(&nl);

	if (!rc)
		rc = nft_open(&nft);
	if (rc) {
		log_error("no netlink: %s", strerror(-rc));
	} else {
		rc = journal_undo(j, nl, nft, d->after_crash ? UNDO_KEEP_GUARD : UNDO_ALL, say_step,
				  d);
		if (rc)
			log_error("not everything could be undone: %s (what is left stands in %s)",
				  strerror(-rc), d->path);
	}
	if (nft)
		nft_close(nft);
	if (nl)
		rtnl_close(nl);
	return rc;
}

/** go_there - into the network namespace of the journal; -ENOENT: it is gone */
static int go_there(const struct down *d)
{
	char id[NETNS_ID_MAX];
	int rc = journal_netns(d->path, id, sizeof(id)), fd;

	if (rc)
		return rc;
	fd = netns_find(id);
	if (fd < 0)
		return fd;
	if (setns(fd, CLONE_NEWNET))
		rc = -errno;
	close(fd);
	return rc;
}

/** load - the journal, from inside of the namespace that it is about */
static int load(const struct down *d, struct journal **j, char *err, size_t errsize)
{
	int rc = journal_load(d->path, j, err, errsize), r;

	if (rc != -EXDEV)
		return rc;
	r = go_there(d);
	if (!r)
		return journal_load(d->path, j, err, errsize);
	if (r != -ENOENT)
		return rc;
	log_note("the network namespace is gone, with what weir had changed in it");
	return journal_load_files(d->path, j, err, errsize);
}

static int take_down(struct down *d)
{
	char err[400] = "";
	struct journal *j;
	int rc;

	for (;;) {
		rc = load(d, &j, err, sizeof(err));
		if (rc != -EBUSY)
			break;
		if (d->after_crash && somebody_is_up(d))
			return 0;
		rc = ask(d);
		if (rc)
			return rc;
	}
	if (rc == -ENOENT)
		return 0;
	if (rc) {
		log_error("%s", err);
		return rc;
	}
	rc = undo(d, j);
	journal_close(j);
	return rc;
}

int down_run(const char *runtime_dir, bool after_crash)
{
	struct down d = {.until = clock_mono_ns() + WAIT_NS, .after_crash = after_crash};

	if ((size_t)snprintf(d.path, sizeof(d.path), "%s/" JOURNAL_NAME, runtime_dir) >=
	    sizeof(d.path)) {
		log_error("%s: too long a name", runtime_dir);
		return 1;
	}
	snprintf(d.lock_path, sizeof(d.lock_path), "%s.lock", d.path);
	if (take_down(&d))
		return 1;
	if (d.asked && !d.undone)
		log_note("weir up has ended and undone what it had changed");
	else if (!d.undone && !after_crash)
		log_note("nothing to undo");
	return 0;
}
