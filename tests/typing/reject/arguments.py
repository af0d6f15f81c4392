"""Mistakes that a checker must find before the program runs; each line names the message it must give."""

import coord

client = coord.connect("memory://")
client.put("key", 5)  # expect: arg-type
client.put(7, "value")  # expect: arg-type
client.get("key").value  # expect: union-attr
coord.lock("/my-lock", 10)  # expect: call-arg, misc
coord.lock("/my-lock", ttl="ten")  # expect: arg-type
coord.lock()  # expect: call-arg
coord.connect(namespace=5)  # expect: arg-type
coord.connct()  # expect: attr-defined
coord.lock("/my-lock").fence  # expect: attr-defined
coord.election("cron").leader().text  # expect: union-attr
coord.election("cron").transfer(7)  # expect: arg-type
coord.LockLost("lost").retryable = True  # expect: misc
