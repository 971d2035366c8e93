"""The only writer of a store.

`lock`       one at a time
`publish`    a version, whole or not at all
`staging`    where what is unfinished lies
`sharing`    equal files of two versions, stored once
`retention`  which versions go, and how
"""
