// A library without any function that anybody looks for.
extern "C" int fake_nothing() { return 0; }
