"""`python -m winnrobust.zoo RUN ...`: add trained runs to the models of this checkout."""

import sys
from pathlib import Path

from winnrobust.errors import InputError
from winnrobust.zoo.adding import add

if __name__ == "__main__":
    try:
        for path in sys.argv[1:]:
            print(f"added {add(Path(path)).name}")
    except InputError as error:
        sys.exit(f"Error: {error}")
