/*
 * Runs a program, and has system calls of its fail, or carry fewer bytes than they were asked to.
 *
 * usage: injector CONTROL PROGRAM ARGUMENT…
 *
 * Owns the tracing: this process becomes PROGRAM, and a child of it, given away to whoever adopts orphans, traces it
 * (ptrace(2)) and ends with it; should the tracer end first, PROGRAM is killed. What to do, and what was seen, stands
 * in the file CONTROL, which the test maps too (injection.py). A child of PROGRAM is traced until it executes something.
 * Exit code: 77 where tracing is not permitted, 2 for a wrong call, else PROGRAM's.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>
#ifndef __x86_64__
#error "registers are those of x86_64"
#endif

enum { CALLS = 512, RULES = 2, THREADS = 1024, NOT_PERMITTED = 77 };

/* A rule: from the `from`-th call of that number on (1 is the next one), `times` of them fail with `error`. */
struct rule {
    int32_t child, number, from, times, error, hits;
};

/* The file CONTROL, all numbers of 32 bits. */
static volatile struct control {
    int32_t cut; /* every read and write carries at most so many bytes; 0: as many as asked for */
    int32_t cuts; /* how many were cut */
    struct rule rules[RULES]; /* number -1: none */
    int32_t calls[2][CALLS]; /* how many there were, of the program's threads and of its children before they execute */
} *control;

static struct thread {
    pid_t tid;
    int is_child;
    int error; /* what the call under way is to fail with; 0: with nothing */
} threads[THREADS];

static pid_t program;
static int has_started; /* whether it is PROGRAM by now, and not us any more */

static struct thread *thread_of(pid_t tid)
{
    struct thread *unused = NULL;
    for (int at = 0; at < THREADS; at++) {
        if (threads[at].tid == tid)
            return &threads[at];
        if (unused == NULL && threads[at].tid == 0)
            unused = &threads[at];
    }
    if (unused == NULL)
        exit(2);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d", program, tid);
    *unused = (struct thread){.tid = tid, .is_child = access(path, F_OK) != 0};
    return unused;
}

/* Whether a descriptor is of what may carry a part: files, sockets and pipes, but no flags and no settings. */
static int is_stream(pid_t tid, int fd)
{
    char path[64], target[256];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", tid, fd);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length < 0)
        return 0;
    target[length] = '\0';
    return strncmp(target, "anon_inode:", 11) != 0 && strncmp(target, "/proc/", 6) != 0;
}

/* The register that says how much a call is to carry; none for calls that carry nothing. */
static unsigned long long *amount(struct user_regs_struct *registers)
{
    switch (registers->orig_rax) {
    case SYS_read: case SYS_write: case SYS_pread64: case SYS_pwrite64: case SYS_recvfrom: case SYS_sendto:
        return &registers->rdx;
    case SYS_sendfile:
        return &registers->r10;
    case SYS_splice: case SYS_copy_file_range:
        return &registers->r8;
    default:
        return NULL;
    }
}

static void enter_call(struct thread *thread)
{
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, thread->tid, 0, &registers) != 0)
        return;
    int number = (int)registers.orig_rax;
    if (number < 0 || number >= CALLS || !has_started)
        return;
    control->calls[thread->is_child][number]++;
    for (int at = 0; at < RULES; at++) {
        volatile struct rule *rule = &control->rules[at];
        if (rule->number != number || rule->child != thread->is_child || rule->times == 0)
            continue;
        if (rule->from > 1) {
            rule->from--;
            continue;
        }
        rule->times--;
        rule->hits++;
        thread->error = rule->error;
        /* A close that fails has closed all the same: it is carried out, all else is not. */
        if (number != SYS_close) {
            registers.orig_rax = -1;
            ptrace(PTRACE_SETREGS, thread->tid, 0, &registers);
        }
        return;
    }
    unsigned long long *bytes = amount(&registers);
    /* What a child tells of its failure is a few bytes in an empty pipe, which takes them whole (pipe(7), PIPE_BUF). */
    if (control->cut > 0 && bytes != NULL && *bytes > (unsigned)control->cut && !thread->is_child
        && is_stream(thread->tid, (int)registers.rdi)) {
        *bytes = (unsigned)control->cut;
        control->cuts++;
        ptrace(PTRACE_SETREGS, thread->tid, 0, &registers);
    }
}

static void leave_call(struct thread *thread)
{
    struct user_regs_struct registers;
    if (thread->error == 0 || ptrace(PTRACE_GETREGS, thread->tid, 0, &registers) != 0)
        return;
    registers.rax = -(long long)thread->error;
    thread->error = 0;
    ptrace(PTRACE_SETREGS, thread->tid, 0, &registers);
}

static void system_call(struct thread *thread)
{
    struct __ptrace_syscall_info call;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, thread->tid, sizeof call, &call) <= 0)
        return;
    if (call.op == PTRACE_SYSCALL_INFO_ENTRY)
        enter_call(thread);
    else if (call.op == PTRACE_SYSCALL_INFO_EXIT)
        leave_call(thread);
}

/* Goes on with a thread that has stopped. */
static void stopped(struct thread *thread, int status)
{
    int signal = WSTOPSIG(status), event = status >> 16;
    if (event == PTRACE_EVENT_EXEC && thread->is_child) {
        ptrace(PTRACE_DETACH, thread->tid, 0, 0);
        thread->tid = 0;
        return;
    }
    has_started |= event == PTRACE_EVENT_EXEC;
    if (event == PTRACE_EVENT_STOP && (signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU)) {
        ptrace(PTRACE_LISTEN, thread->tid, 0, 0);
        return;
    }
    if (signal == (SIGTRAP | 0x80)) {
        system_call(thread);
        signal = 0;
    } else if (event != 0) {
        signal = 0;
    }
    ptrace(PTRACE_SYSCALL, thread->tid, 0, signal);
}

static void trace(void)
{
    int status;
    pid_t tid;
    while ((tid = waitpid(-1, &status, __WALL)) > 0 || (tid < 0 && errno == EINTR)) {
        if (tid < 0)
            continue;
        if (WIFSTOPPED(status))
            stopped(thread_of(tid), status);
        else
            thread_of(tid)->tid = 0;
    }
}

/* In the tracer: has its parent, which waits for a byte, go on as PROGRAM. */
static void attach_and_trace(int tell)
{
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC
        | PTRACE_O_EXITKILL;
    char told = 0;
    if (ptrace(PTRACE_SEIZE, program, 0, options) != 0)
        told = (char)errno;
    else if (ptrace(PTRACE_INTERRUPT, program, 0, 0) != 0)
        told = (char)errno;
    if (write(tell, &told, 1) != 1 || told != 0)
        _exit(1);
    /* Whatever else it has of its parent's, somebody may wait for its end. */
    close_range(3, ~0U, 0);
    trace();
    _exit(0);
}

int main(int count, char **arguments)
{
    if (count < 3) {
        fprintf(stderr, "usage: injector CONTROL PROGRAM ARGUMENT…\n");
        return 2;
    }
    int file = open(arguments[1], O_RDWR | O_CLOEXEC), ends[2];
    if (file < 0 || pipe2(ends, O_CLOEXEC) != 0) {
        perror(arguments[1]);
        return 2;
    }
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    program = getpid();
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    pid_t between = control == MAP_FAILED ? -1 : fork();
    if (between < 0) {
        perror("injector");
        return 2;
    }
    if (between == 0) {
        if (fork() == 0)
            attach_and_trace(ends[1]);
        _exit(0);
    }
    waitpid(between, NULL, 0);
    close(ends[1]);
    char told = EPERM;
    if (read(ends[0], &told, 1) != 1 || told != 0) {
        fprintf(stderr, "injector: no process may be traced here: %s\n", strerror(told));
        return NOT_PERMITTED;
    }
    execv(arguments[2], arguments + 2);
    perror(arguments[2]);
    return 2;
}
