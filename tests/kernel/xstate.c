/* Lets user-mode Linux 6.1 run on processors whose register file is larger than it knows (AMX).
 *
 * That kernel saves the floating point registers of its processes by PTRACE_GETREGSET into 2696
 * octets, enough for AVX-512. Where there is more, the machine's kernel takes back only the whole
 * set (EFAULT otherwise), and init dies. Preloaded, this reads and writes the whole set and shows
 * the caller the part that it knows.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PEEKTEXT 1
#define PEEKUSER 3
#define GETREGSET 0x4204
#define SETREGSET 0x4205
#define NT_X86_XSTATE 0x202

static char whole[65536];

long ptrace(int request, int pid, void *addr, void *data)
{
	struct iovec mine = { whole, sizeof whole }, *theirs = data;
	long word, answer;

	if (request >= PEEKTEXT && request <= PEEKUSER) {
		answer = syscall(SYS_ptrace, request, pid, addr, &word);
		if (answer < 0)
			return answer;
		errno = 0;
		return word;
	}
	if ((request != GETREGSET && request != SETREGSET) || (long)addr != NT_X86_XSTATE)
		return syscall(SYS_ptrace, request, pid, addr, data);
	answer = syscall(SYS_ptrace, GETREGSET, pid, addr, &mine);
	if (answer < 0)
		return answer;
	if (theirs->iov_len > mine.iov_len)
		theirs->iov_len = mine.iov_len;
	if (request == GETREGSET) {
		memcpy(theirs->iov_base, whole, theirs->iov_len);
		return answer;
	}
	memcpy(whole, theirs->iov_base, theirs->iov_len);
	return syscall(SYS_ptrace, SETREGSET, pid, addr, &mine);
}
