// A V4L2 capture device for any process, without a driver: an LD_PRELOAD shim that makes /dev/video9 a camera.
//
//     cc -O2 -shared -fPIC -o fakev4l.so fakev4l.c -ldl -lpthread
//     LD_PRELOAD=./fakev4l.so FAKE_FRAME=frames.yuyv FAKE_FPS=30 FAKE_LOG=times ustreamer --device=/dev/video9 ...
//
// It gives 1920x1080 YUYV: FAKE_FRAME holds one or more raw frames, buffer n shows the frame n of them for good (no copying
// that a real device would leave to DMA), and a counter of 16 bits is drawn in the top left corner of each, two pixels a
// bit, 16 rows high, the lowest bit first. FAKE_LOG (optional, 65536 + 2 words of 64 bits) takes the monotonic nanoseconds
// at which the frame of each counter was ready, then how many were filled and how many found no free buffer.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define WIDTH 1920
#define HEIGHT 1080
#define SIZE (WIDTH * HEIGHT * 2)
#define MOST 16
#define COUNTERS 65536

static int device = -1, frames_in, fps = 60, streaming; // the device is a pipe with a byte for each filled buffer
static uint8_t *memory[MOST], *source;
static size_t sources;
static uint64_t unlogged[COUNTERS + 2], *logged = unlogged;
static pthread_t thread;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct { int index[MOST], head, count; } queued, done; // with the device, and filled
static struct { struct timeval time; uint32_t counter; } filled[MOST];

#define PUSH(queue, value) ((queue).index[((queue).head + (queue).count++) % MOST] = (value))
#define POP(queue) (queue).index[((queue).count--, (queue).head = ((queue).head + 1) % MOST, ((queue).head + MOST - 1) % MOST)]

static void fill(int index, uint32_t counter)
{
	for (int y = 0; y < 16; y++)
		for (int x = 0; x < 32; x++)
			memory[index][(y * WIDTH + x) * 2] = counter >> (x / 2) & 1 ? 235 : 16;
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	filled[index].time = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
	filled[index].counter = counter;
	logged[counter % COUNTERS] = now.tv_sec * 1000000000ULL + now.tv_nsec;
	logged[COUNTERS]++;
}

static void *produce(void *unused)
{
	static uint32_t counter;
	struct timespec next;
	clock_gettime(CLOCK_MONOTONIC, &next);
	while (streaming) {
		next.tv_nsec += 1000000000L / fps;
		if (next.tv_nsec >= 1000000000L)
			next.tv_nsec -= 1000000000L, next.tv_sec++;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
		pthread_mutex_lock(&lock);
		if (queued.count) {
			int index = POP(queued);
			fill(index, counter);
			PUSH(done, index);
			(void)!write(frames_in, "", 1);
		} else {
			logged[COUNTERS + 1]++;
		}
		counter++;
		pthread_mutex_unlock(&lock);
	}
	return unused;
}

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static int real_open(const char *path, int flags, int mode)
{
	static int (*next)(const char *, int, ...);
	if (!next)
		next = real("open");
	return next(path, flags, mode);
}

static void *real_mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset)
{
	static void *(*next)(void *, size_t, int, int, int, off_t);
	if (!next)
		next = real("mmap");
	return next(at, len, protection, flags, fd, offset);
}

static int open_device(void)
{
	if (getenv("FAKE_FPS"))
		fps = atoi(getenv("FAKE_FPS"));
	int file = real_open(getenv("FAKE_FRAME"), O_RDONLY, 0);
	if (file < 0)
		return -1;
	sources = lseek(file, 0, SEEK_END) / SIZE;
	source = real_mmap(NULL, sources * SIZE, PROT_READ, MAP_PRIVATE, file, 0);
	close(file);
	if (getenv("FAKE_LOG") && (file = real_open(getenv("FAKE_LOG"), O_RDWR, 0)) >= 0) {
		logged = real_mmap(NULL, sizeof unlogged, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
		close(file);
	}
	int ends[2];
	if (pipe2(ends, O_NONBLOCK | O_CLOEXEC))
		return -1;
	frames_in = ends[1];
	return device = ends[0];
}

int open(const char *path, int flags, ...)
{
	va_list rest;
	va_start(rest, flags);
	int mode = va_arg(rest, int);
	va_end(rest);
	return strcmp(path, "/dev/video9") ? real_open(path, flags, mode) : open_device();
}

int open64(const char *path, int flags, ...)
{
	va_list rest;
	va_start(rest, flags);
	int mode = va_arg(rest, int);
	va_end(rest);
	return open(path, flags, mode);
}

int access(const char *path, int mode)
{
	static int (*next)(const char *, int);
	if (!next)
		next = real("access");
	return strcmp(path, "/dev/video9") ? next(path, mode) : 0;
}

void *mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset)
{
	if (fd < 0 || fd != device)
		return real_mmap(at, len, protection, flags, fd, offset);
	int index = offset / SIZE;
	memory[index] = real_mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memcpy(memory[index], source + index % sources * SIZE, SIZE);
	return memory[index];
}

void *mmap64(void *at, size_t len, int protection, int flags, int fd, off_t offset)
{
	return mmap(at, len, protection, flags, fd, offset);
}

static int dequeue(struct v4l2_buffer *buffer)
{
	pthread_mutex_lock(&lock);
	if (!done.count) {
		pthread_mutex_unlock(&lock);
		errno = EAGAIN;
		return -1;
	}
	int index = POP(done);
	char one;
	(void)!read(device, &one, 1);
	buffer->index = index;
	buffer->bytesused = buffer->length = SIZE;
	buffer->flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC | V4L2_BUF_FLAG_DONE;
	buffer->field = V4L2_FIELD_NONE;
	buffer->timestamp = filled[index].time;
	buffer->sequence = filled[index].counter;
	pthread_mutex_unlock(&lock);
	return 0;
}

static void stream(int on)
{
	if (on == streaming)
		return;
	streaming = on;
	if (on) {
		pthread_create(&thread, NULL, produce, NULL);
		return;
	}
	pthread_join(thread, NULL);
	queued.count = done.count = 0;
	char one;
	while (read(device, &one, 1) == 1) {}
}

static int request(unsigned code, void *argument)
{
	switch (code) {
	case VIDIOC_QUERYCAP: {
		struct v4l2_capability *capability = argument;
		*capability = (struct v4l2_capability){.driver = "fake", .card = "fake"};
		capability->device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
		capability->capabilities = capability->device_caps | V4L2_CAP_DEVICE_CAPS;
		return 0;
	}
	case VIDIOC_ENUM_FMT: {
		struct v4l2_fmtdesc *offer = argument;
		if (offer->index)
			return errno = EINVAL, -1;
		offer->pixelformat = V4L2_PIX_FMT_YUYV;
		return 0;
	}
	case VIDIOC_S_FMT:
	case VIDIOC_TRY_FMT:
	case VIDIOC_G_FMT: {
		struct v4l2_pix_format *format = &((struct v4l2_format *)argument)->fmt.pix;
		format->width = WIDTH;
		format->height = HEIGHT;
		format->pixelformat = V4L2_PIX_FMT_YUYV;
		format->bytesperline = WIDTH * 2;
		format->sizeimage = SIZE;
		format->field = V4L2_FIELD_NONE;
		return 0;
	}
	case VIDIOC_S_INPUT:
		return 0;
	case VIDIOC_G_PARM:
	case VIDIOC_S_PARM: {
		struct v4l2_captureparm *capture = &((struct v4l2_streamparm *)argument)->parm.capture;
		capture->capability = V4L2_CAP_TIMEPERFRAME;
		capture->timeperframe = (struct v4l2_fract){1, fps};
		return 0;
	}
	case VIDIOC_REQBUFS: {
		struct v4l2_requestbuffers *wanted = argument;
		if (wanted->count > MOST)
			wanted->count = MOST;
		return 0;
	}
	case VIDIOC_QUERYBUF: {
		struct v4l2_buffer *buffer = argument;
		buffer->length = SIZE;
		buffer->m.offset = buffer->index * SIZE;
		return 0;
	}
	case VIDIOC_QBUF:
		pthread_mutex_lock(&lock);
		PUSH(queued, ((struct v4l2_buffer *)argument)->index);
		pthread_mutex_unlock(&lock);
		return 0;
	case VIDIOC_DQBUF:
		return dequeue(argument);
	case VIDIOC_STREAMON:
		return stream(1), 0;
	case VIDIOC_STREAMOFF:
		return stream(0), 0;
	}
	errno = ENOTTY;
	return -1;
}

int ioctl(int fd, unsigned long code, ...)
{
	static int (*next)(int, unsigned long, ...);
	va_list rest;
	va_start(rest, code);
	void *argument = va_arg(rest, void *);
	va_end(rest);
	if (fd >= 0 && fd == device)
		return request(code, argument);
	if (!next)
		next = real("ioctl");
	return next(fd, code, argument);
}
