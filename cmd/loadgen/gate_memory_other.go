//go:build !linux

package main

// memoryDir is a folder in memory; none is known here.
func memoryDir() string { return "" }
