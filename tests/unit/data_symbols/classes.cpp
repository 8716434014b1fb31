// What C++ adds: namespaces, static members, base classes, scoped enumerations.
#include <stdint.h>

namespace mm {

enum class Zone : uint8_t { Low = 1, High = 200 };
enum Plain { PLAIN_ONE = 1, PLAIN_MINUS = -5 };

struct Base {
    uint32_t id;
};

class Pool : public Base {
public:
    struct Slot {
        Slot *next;
        uint16_t size;
    };
    static Pool *first;
    static uint64_t used;
    static const int capacity = 77;
    Slot *slots;
    Zone zone;
    Plain plain;
    bool busy : 1;
    int grow(int by);
};

Pool *Pool::first;
uint64_t Pool::used = 9;

int Pool::grow(int by)
{
    return by + (int)used + capacity;
}

static int hidden = 3;
int visible = 4;

}

mm::Pool pool;
mm::Zone zone = mm::Zone::High;
mm::Plain plain = mm::PLAIN_MINUS;

extern "C" void _start()
{
    mm::Pool::first = &pool;
    mm::visible = pool.grow(mm::hidden);
    asm volatile("syscall" : : "a"(60L), "D"(0L));
    __builtin_unreachable();
}
