"""Has the process that imports this end at once when it ends. `import_ahead` has its server import it: the server keeps
the standard streams open that the run was given, and would take half a second to take its modules down.
"""

import atexit
import os

atexit.register(os._exit, 0)
