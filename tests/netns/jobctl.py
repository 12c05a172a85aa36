#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""jobctl: signals and job control as a person at a terminal makes them.

usage: jobctl.py PREFIX... :: WEIR     (PREFIX: what runs WEIR as the right user)
Prints one line a check: "0 NAME" passed, "1 NAME" failed, then details as "# ...".
"""
import fcntl, os, pty, re, select, signal, struct, subprocess, sys, termios, time

split = sys.argv.index("::")
PREFIX, WEIR = sys.argv[1:split], sys.argv[split + 1]
RUN = PREFIX + [WEIR, "run", "-q", "--"]

# Counts what it gets; ends on USR2 with what it saw.
COUNTER = r"""
import os, signal, sys
seen = {}
def note(n, f):
    seen[n] = seen.get(n, 0) + 1
for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT, signal.SIGWINCH):
    signal.signal(n, note)
done = []
signal.signal(signal.SIGUSR2, lambda n, f: done.append(1))
if len(sys.argv) > 1 and sys.argv[1] == "setsid":
    os.setsid()
print("ready", os.getpid(), flush=True)
while not done:
    signal.pause()
print("seen", " ".join("%s=%d" % (signal.Signals(n).name, c) for n, c in sorted(seen.items())), flush=True)
"""


def check(good, name, *details):
    print("%d %s" % (0 if good else 1, name))
    if not good:
        for d in details:
            print("#", repr(d))
    sys.stdout.flush()


def wait_for(fn, seconds=5):
    end = time.time() + seconds
    while time.time() < end:
        r = fn()
        if r:
            return r
        time.sleep(0.02)
    return None


def stat(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            rest = f.read().rsplit(")", 1)[1].split()
        return {"state": rest[0], "ppid": int(rest[1])}
    except OSError:
        return None


def supervisor_of(pid):
    """COMMAND's parent is the keeper, whose parent is the supervisor."""
    return stat(stat(pid)["ppid"])["ppid"]


class Counter:
    def __init__(self, *args):
        self.p = subprocess.Popen(RUN + ["python3", "-c", COUNTER] + list(args),
                                  stdout=subprocess.PIPE, start_new_session=True, text=True)
        self.command = int(self.p.stdout.readline().split()[1])
        self.weir = supervisor_of(self.command)

    def end(self):
        time.sleep(0.15)
        os.kill(self.command, signal.SIGUSR2)
        out = self.p.stdout.read().strip()
        return out, self.p.wait(5)


# --- signals sent by somebody -------------------------------------------------------

for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGQUIT"):
    c = Counter()
    os.kill(c.weir, getattr(signal, name))
    out, rc = c.end()
    check(out == "seen %s=1" % name and rc == 0, "%s to weir alone reaches COMMAND once" % name, out, rc)

c = Counter()
os.killpg(os.getpgid(c.weir), signal.SIGTERM)
out, rc = c.end()
check(out == "seen SIGTERM=1", "SIGTERM to the group reaches COMMAND once", out)

c = Counter("setsid")
os.killpg(os.getpgid(c.weir), signal.SIGTERM)
out, rc = c.end()
check(out == "seen SIGTERM=1", "SIGTERM to weir's group reaches a COMMAND in a session of its own", out)

p = subprocess.run(RUN + ["sh", "-c", "trap 'echo back' USR1; "
                          "keeper=$PPID; weir=$(awk '{print $4}' /proc/$keeper/stat); "
                          "kill -USR1 $weir; sleep 0.3; echo end"], capture_output=True, text=True)
check(p.stdout == "end\n" and p.returncode == 0, "what COMMAND sends to weir does not come back", p)

p = subprocess.run(PREFIX + ["timeout", "1", WEIR, "run", "-q", "--", "sleep", "20"])
check(p.returncode == 124, "timeout(1) ends it", p.returncode)

for sig in (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
    p = subprocess.run(PREFIX + [WEIR, "run", "-q", "--", "python3", "-c",
                                 "import os, signal; signal.signal(%d, signal.SIG_DFL) if %d != 9 else 0;"
                                 "os.kill(os.getpid(), %d)" % (sig, sig, sig)])
    check(p.returncode == -sig, "death by %s shows as such" % sig.name, p.returncode)

c = Counter()
os.kill(c.command, signal.SIGSTOP)
check(wait_for(lambda: stat(c.weir)["state"] == "T"), "COMMAND stopped: weir stops as well", stat(c.weir))
os.kill(c.command, signal.SIGCONT)
check(wait_for(lambda: stat(c.weir)["state"] != "T"), "COMMAND continued: weir as well", stat(c.weir))
os.kill(c.command, signal.SIGSTOP)
wait_for(lambda: stat(c.weir)["state"] == "T")
os.kill(c.weir, signal.SIGCONT)
check(wait_for(lambda: stat(c.command)["state"] != "T"), "weir continued: COMMAND as well", stat(c.command))
check(c.end()[1] == 0, "... and ends in order")


# --- a shell at a terminal ------------------------------------------------------------

class Shell:
    def __init__(self):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["PS1"] = "PROMPT> "
            os.environ["TERM"] = "dumb"
            os.execvp(PREFIX[0] if PREFIX else "bash",
                      PREFIX + ["bash", "--norc", "--noprofile", "-i"])
        self.buf = ""
        # wide: readline would scroll long lines and spoil the echo
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 400, 0, 0))
        self.expect("PROMPT> ")

    def expect(self, pattern, seconds=8):
        end = time.time() + seconds
        while True:
            m = re.search(pattern, self.buf)
            if m:
                self.buf = self.buf[m.end():]
                return m
            if time.time() > end:
                return None
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.buf += os.read(self.fd, 4096).decode(errors="replace")
                except OSError:
                    return None

    def send(self, text):
        os.write(self.fd, text.encode())

    def run(self, line):
        self.send(line + "\n")
        self.expect(re.escape(line[-10:]) + r"\r?\n")

    def started(self):
        """Past fork and exec of what follows: a vfork()ed child that stops first blocks its
        parent beyond any signal, with and without weir."""
        self.expect("go\\r?\\n")
        time.sleep(0.3)

    def status(self):
        self.expect("PROMPT> ")
        self.send("echo status=$?\n")
        m = self.expect(r"status=(\d+)\r?\n")
        self.expect("PROMPT> ")
        return int(m.group(1)) if m else None

    def close(self):
        self.send("exit\n")
        time.sleep(0.1)
        os.close(self.fd)
        os.waitpid(self.pid, 0)


sh = Shell()
weir = WEIR + " run -q -- "

sh.run(weir + "sh -c 'echo go; exec sleep 30'")
sh.started()
sh.send("\x03")
check(sh.status() == 130, "Ctrl-C: status 130")

sh.run(weir + "sh -c 'echo go; exec sleep 30'")
sh.started()
sh.send("\x1c")
check(sh.status() == 131, "Ctrl-\\: status 131")

sh.run(weir + "sh -c 'trap \"echo caught\" INT; echo go; sleep 30; sleep 0.2; exit 5'")
sh.started()
sh.send("\x03")
check(sh.expect("caught") is not None, "Ctrl-C is COMMAND's to handle")
check(sh.status() == 5, "... and weir goes on until COMMAND ends")

sh.run(weir + "sh -c 'echo go; sleep 2; echo over; exit 9'")
sh.started()
sh.send("\x1a")
check(sh.expect("Stopped") is not None, "Ctrl-Z: the shell sees the job stopped", sh.buf)
sh.expect("PROMPT> ")
sh.run("jobs -l")
check(sh.expect(r"\[1\].*Stopped") is not None, "jobs lists it", sh.buf)
sh.expect("PROMPT> ")
sh.run("fg")
check(sh.expect("over") is not None, "fg continues it", sh.buf)
check(sh.status() == 9, "... with its status")

sh.run(weir + "sh -c 'echo go; sleep 1; echo over'")
sh.started()
sh.send("\x1a")
sh.expect("Stopped")
sh.expect("PROMPT> ")
sh.run("bg")
check(sh.expect("over") is not None, "bg continues it in the background", sh.buf)
sh.run("wait")
sh.status()

sh.run(weir + "bash -c 'trap \"echo size \\$(stty size)\" WINCH; echo go; for i in 1 2 3 4 5 6; do sleep 0.3; done'")
sh.started()
fcntl.ioctl(sh.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))
check(sh.expect("size 31 97") is not None, "SIGWINCH reaches COMMAND", sh.buf)
sh.status()

sh.run(weir + "bash --norc --noprofile -i")
sh.expect("PROMPT> ")
sh.run("sleep 30")
time.sleep(0.3)
sh.send("\x1a")
check(sh.expect("Stopped") is not None, "a shell inside has its own job control", sh.buf)
sh.expect("PROMPT> ")
sh.run("kill -9 %1; sleep 0.2")
sh.expect("PROMPT> ")
sh.run("exit 4")
status = sh.status()
check(status == 4, "... and gives the terminal back", status, sh.buf)
sh.close()
