// Watches a stream as many clients at once at next to no cost of its own: `drain SOCKET COUNT FILE` connects COUNT times to a
// unix socket, sends the request in FILE on each and reads what comes, unseen. Ends by SIGTERM; then it prints the bytes
// that each connection got.
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MOST 256

static volatile sig_atomic_t stopped;

static void stop(int number) { (void)number, stopped = 1; }

int main(int count, char **words)
{
	static char request[4096], unseen[1 << 20];
	static struct pollfd clients[MOST];
	static unsigned long long got[MOST];
	FILE *file = count == 4 ? fopen(words[3], "rb") : NULL;
	int many = file ? atoi(words[2]) : 0;
	if (many < 1 || many > MOST)
		return fprintf(stderr, "drain SOCKET COUNT FILE\n"), 2;
	size_t len = fread(request, 1, sizeof request, file);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strncpy(address.sun_path, words[1], sizeof address.sun_path - 1);
	struct sigaction action = {.sa_handler = stop};
	sigaction(SIGTERM, &action, NULL);
	for (int i = 0; i < many; i++) {
		clients[i] = (struct pollfd){.fd = socket(AF_UNIX, SOCK_STREAM, 0), .events = POLLIN};
		if (connect(clients[i].fd, (struct sockaddr *)&address, sizeof address) || write(clients[i].fd, request, len) != (ssize_t)len)
			return perror(words[1]), 1;
	}
	while (!stopped && poll(clients, many, -1) >= 0)
		for (int i = 0; i < many; i++) {
			ssize_t read = clients[i].revents ? recv(clients[i].fd, unseen, sizeof unseen, MSG_DONTWAIT) : -1;
			if (read > 0)
				got[i] += read;
			else if (read == 0)
				clients[i].fd = -1; // poll takes no notice of it any more
		}
	for (int i = 0; i < many; i++)
		printf("%llu\n", got[i]);
	return 0;
}
