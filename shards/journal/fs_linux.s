// Without a file of this kind the compiler takes functions without a body (fs_linux.go) for a mistake.
