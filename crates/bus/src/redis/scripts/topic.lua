-- All of a topic. A script, so that only a server of the caller's epoch answers. KEYS[1]: its hash.
return redis.call('HGETALL', KEYS[1])
